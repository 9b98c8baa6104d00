//! Whatever a recipe's file holds: it is read or refused with reasons, all of
//! which can be shown, and no secret is shown with them.

use std::cell::OnceCell;

use forno_recipe::{Inputs, Project, load};

const SECRET: &str = "s3cr3t-0f-n0-recipe";

thread_local! {
    static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

pub(crate) fn check(data: &[u8]) {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::create_dir(folder.path().join("images")).unwrap();
            std::fs::write(folder.path().join("images/s.sh"), "true\n").unwrap();
            std::fs::write(folder.path().join("forno.toml"), "").unwrap();
            folder
        });
        let file = folder.path().join("images/worker.toml");
        std::fs::write(&file, data).unwrap();
        let inputs = Inputs {
            env: [("SECRET".to_owned(), SECRET.to_owned())].into(),
            ..Inputs::default()
        };
        let read = Project::find(folder.path())
            .and_then(|project| load(&project, file.to_str().unwrap(), &inputs));
        let shown = match read {
            Ok(recipe) => {
                let json = serde_json::to_string(&recipe).unwrap();
                let digest = forno_recipe::digest(&recipe, "ami-1").unwrap();
                format!("{recipe:?}{json}{digest:?}")
            }
            Err(problems) => {
                assert!(!problems.problems().is_empty());
                let json = serde_json::to_string(problems.problems()).unwrap();
                format!("{}{}{json}", problems.render(true), problems.render(false))
            }
        };
        assert!(!shown.contains(SECRET), "{shown}");
    });
}
