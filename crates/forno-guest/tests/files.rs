//! Uploads and downloads as steps.

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::{bench, told};
use forno_events::Event;
use forno_guest::{Action, Download, Upload, UploadSource};

fn upload(source: UploadSource, to: &std::path::Path, user: &str) -> Action {
    Action::Upload(Upload {
        source,
        to: to.to_str().unwrap().to_owned(),
        mode: None,
        owner: user.to_owned(),
        group: user.to_owned(),
    })
}

#[tokio::test]
async fn content_files_and_folders_arrive_and_come_back() {
    let Some(bench) = bench().await else { return };
    let user = bench.server.user.clone();
    let there = bench.dir().join("new/folder/motd");
    bench
        .run(upload(
            UploadSource::Content("hello\n".into()),
            &there,
            &user,
        ))
        .await
        .unwrap();
    assert_eq!(fs_err::read_to_string(&there).unwrap(), "hello\n");
    assert_eq!(
        fs_err::metadata(&there).unwrap().permissions().mode() & 0o7777,
        0o644
    );

    let local = tempfile::tempdir().unwrap();
    let file = local.path().join("tool");
    fs_err::write(&file, vec![b'x'; 3 << 20]).unwrap();
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let there = bench.dir().join("tool");
    bench
        .run(upload(UploadSource::File(file), &there, &user))
        .await
        .unwrap();
    let metadata = fs_err::metadata(&there).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o777), (3 << 20, 0o755));
    assert!(bench.events().iter().any(|event| matches!(
        event,
        Event::Progress { done, total: Some(total), .. } if done == total && *total == 3 << 20
    )));

    let folder = local.path().join("folder");
    fs_err::create_dir_all(folder.join("sub")).unwrap();
    fs_err::write(folder.join("sub/file"), "deep").unwrap();
    let there = bench.dir().join("tree");
    bench
        .run(upload(UploadSource::Folder(folder), &there, &user))
        .await
        .unwrap();
    assert_eq!(
        fs_err::read_to_string(there.join("sub/file")).unwrap(),
        "deep"
    );

    for (from, to) in [("tree", "back"), ("tool", "back-file")] {
        let download = Download {
            from: bench.dir().join(from).to_str().unwrap().to_owned(),
            to: local.path().join(to),
        };
        bench.run(Action::Download(download)).await.unwrap();
    }
    assert_eq!(
        fs_err::read_to_string(local.path().join("back/sub/file")).unwrap(),
        "deep"
    );
    assert_eq!(
        fs_err::metadata(local.path().join("back-file"))
            .unwrap()
            .len(),
        3 << 20
    );
}

#[tokio::test]
async fn failures_name_the_place() {
    let Some(bench) = bench().await else { return };
    let user = bench.server.user.clone();
    let dir = bench.dir().to_str().unwrap().to_owned();
    let peer = format!("{user}@{}", bench.server.address);
    let mut said = Vec::new();
    let missing = UploadSource::File("/no/such/file".into());
    for action in [
        upload(missing, &bench.dir().join("x"), &user),
        upload(
            UploadSource::Content("x".into()),
            &bench.dir().join("x"),
            "no-such-user",
        ),
        Action::Download(Download {
            from: format!("{dir}/missing"),
            to: bench.dir().join("got"),
        }),
    ] {
        let error = bench.run(action).await.unwrap_err();
        said.push(told(&error).replace(&dir, "DIR").replace(&peer, "PEER"));
    }
    insta::assert_snapshot!(said.join("\n"));
}
