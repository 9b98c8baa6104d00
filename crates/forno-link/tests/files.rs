//! Files and folders there and back, with hard names.

mod suite;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use forno_link::{ErrorKind, FileTarget, Progress, TreeTarget};
use suite::Site;
use tokio_util::sync::CancellationToken;

over_every_link! {
    a_folder_there_and_back_is_the_same
    folders_that_are_there_keep_what_they_are
    files_with_hard_names_there_and_back
    modes_and_owners
    failures_say_what_and_leave_nothing
    a_cancelled_upload_leaves_nothing
}

fn never() -> CancellationToken {
    CancellationToken::new()
}

const NAMES: [&str; 10] = [
    "plain",
    "with space",
    "it's",
    "\"double\"",
    "new\nline",
    "éß✓日本",
    "-rf",
    "$HOME `id` *",
    "tab\there\\",
    " .hidden ",
];

fn mode(path: &Path) -> u32 {
    fs_err::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Every path below with its kind, mode and content.
fn listing(root: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs_err::symlink_metadata(&path).unwrap();
            let content = if metadata.is_dir() {
                folders.push(path.clone());
                b"folder".to_vec()
            } else if metadata.is_symlink() {
                fs_err::read_link(&path)
                    .unwrap()
                    .as_os_str()
                    .as_encoded_bytes()
                    .to_vec()
            } else {
                fs_err::read(&path).unwrap()
            };
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            found.push((name, metadata.mode() & 0o777, content));
        }
    }
    found.sort();
    found
}

fn make_tree(root: &Path) {
    for (n, name) in NAMES.iter().enumerate() {
        let folder = root.join(name);
        fs_err::create_dir_all(&folder).unwrap();
        for inner in NAMES {
            fs_err::write(folder.join(inner), format!("{name}/{inner}")).unwrap();
        }
        let modes = [0o644, 0o600, 0o755, 0o400, 0o640];
        set_mode(&folder.join(NAMES[n]), modes[n % modes.len()]);
    }
    let long = root.join("l".repeat(200)).join("o".repeat(200));
    fs_err::create_dir_all(&long).unwrap();
    fs_err::write(long.join("file"), "far").unwrap();
    fs_err::write(root.join("empty"), "").unwrap();
    fs_err::create_dir(root.join("empty folder")).unwrap();
    set_mode(&root.join("empty folder"), 0o750);
    symlink("with space/it's", root.join("link")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    fs_err::write(root.join("large"), vec![b'x'; 3 << 20]).unwrap();
}

async fn a_folder_there_and_back_is_the_same(site: Site) {
    let link = site.link();
    let from = tempfile::tempdir().unwrap();
    make_tree(from.path());
    let there = site.dir().join("a folder's \"place\"");
    let most = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&most);
    let progress = Progress::new(move |done, total| {
        assert!(total.is_some_and(|total| done <= total));
        seen.fetch_max(done, Ordering::Relaxed);
    });
    let target = TreeTarget::new(there.to_str().unwrap());
    link.upload_tree(from.path(), &target, progress, &never())
        .await
        .unwrap();
    assert_eq!(listing(&there), listing(from.path()));
    assert!(most.load(Ordering::Relaxed) >= 3 << 20);

    let back = site.dir().join("back");
    link.download_tree(
        there.to_str().unwrap(),
        &back,
        false,
        Progress::none(),
        &never(),
    )
    .await
    .unwrap();
    assert_eq!(listing(&back), listing(from.path()));
}

async fn folders_that_are_there_keep_what_they_are(site: Site) {
    let link = site.link();
    let from = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(from.path().join("etc/app")).unwrap();
    fs_err::write(from.path().join("etc/app/conf"), "new").unwrap();
    fs_err::create_dir(from.path().join("lib")).unwrap();
    fs_err::write(from.path().join("lib/so"), "so").unwrap();
    let there = site.dir().join("root");
    fs_err::create_dir_all(there.join("etc")).unwrap();
    fs_err::create_dir_all(there.join("usr/lib")).unwrap();
    symlink("usr/lib", there.join("lib")).unwrap();
    set_mode(&there, 0o711);
    set_mode(&there.join("etc"), 0o710);
    fs_err::write(there.join("etc/other"), "stays").unwrap();
    let target = TreeTarget {
        file_mode: Some(0o640),
        folder_mode: Some(0o750),
        ..TreeTarget::new(there.to_str().unwrap())
    };
    link.upload_tree(from.path(), &target, Progress::none(), &never())
        .await
        .unwrap();
    assert_eq!(mode(&there), 0o711);
    assert_eq!(mode(&there.join("etc")), 0o710);
    assert_eq!(mode(&there.join("etc/app")), 0o750);
    assert_eq!(mode(&there.join("etc/app/conf")), 0o640);
    assert_eq!(fs_err::read(there.join("etc/other")).unwrap(), b"stays");
    assert_eq!(
        fs_err::read_link(there.join("lib")).unwrap(),
        Path::new("usr/lib")
    );
    assert_eq!(fs_err::read(there.join("usr/lib/so")).unwrap(), b"so");
}

async fn files_with_hard_names_there_and_back(site: Site) {
    let link = site.link();
    let from = tempfile::tempdir().unwrap();
    for name in NAMES {
        let local = from.path().join(name);
        fs_err::write(&local, name.repeat(1000)).unwrap();
        set_mode(&local, 0o750);
        let there = site.dir().join("new folder").join(name);
        let target = FileTarget::new(there.to_str().unwrap());
        link.upload_file(&local, &target, Progress::none(), &never())
            .await
            .unwrap();
        assert_eq!(fs_err::read(&there).unwrap(), name.repeat(1000).as_bytes());
        assert_eq!(mode(&there), 0o750);
        let back = from.path().join("back").join(name);
        link.download_file(
            there.to_str().unwrap(),
            &back,
            false,
            Progress::none(),
            &never(),
        )
        .await
        .unwrap();
        assert_eq!(fs_err::read(&back).unwrap(), name.repeat(1000).as_bytes());
        assert_eq!(mode(&back), 0o750);
    }
    let count = fs_err::read_dir(site.dir().join("new folder"))
        .unwrap()
        .count();
    assert_eq!(count, NAMES.len(), "no temporary file stays");
}

async fn modes_and_owners(site: Site) {
    let link = site.link();
    let root = site.user == "root";
    let there = site.dir().join("file");
    let mut target = FileTarget::new(there.to_str().unwrap());
    target.mode = Some(0o4711);
    if root {
        target.owner = Some("nobody".into());
        target.group = Some("12345".into());
    }
    link.upload_bytes(Bytes::from_static(b"x"), &target, &never())
        .await
        .unwrap();
    assert_eq!(mode(&there), 0o4711);
    let from = tempfile::tempdir().unwrap();
    fs_err::write(from.path().join("f"), "x").unwrap();
    fs_err::create_dir(from.path().join("d")).unwrap();
    if root {
        assert_eq!(fs_err::metadata(&there).unwrap().gid(), 12345);
        let nobody = fs_err::metadata(&there).unwrap().uid();
        assert_ne!(nobody, 0);
        let tree = TreeTarget {
            owner: Some("nobody".into()),
            group: Some("12345".into()),
            ..TreeTarget::new(site.dir().join("tree").to_str().unwrap())
        };
        link.upload_tree(from.path(), &tree, Progress::none(), &never())
            .await
            .unwrap();
        for name in ["", "f", "d"] {
            let metadata = fs_err::metadata(site.dir().join("tree").join(name)).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (nobody, 12345), "{name}");
        }
    }
    let tree = TreeTarget {
        owner: Some("no-such-user".into()),
        ..TreeTarget::new(site.dir().join("tree2").to_str().unwrap())
    };
    let error = link
        .upload_tree(from.path(), &tree, Progress::none(), &never())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no-such-user"), "{error}");
    assert!(!site.dir().join("tree2").exists());
}

async fn failures_say_what_and_leave_nothing(site: Site) {
    let link = site.link();
    let dir = site.dir().to_str().unwrap().to_owned();
    let text = |result: Result<(), forno_link::Error>| {
        result.unwrap_err().kind.to_string().replace(&dir, "DIR")
    };
    let send = |to: String| {
        let link = link.clone();
        async move {
            link.upload_bytes(Bytes::from_static(b"x"), &FileTarget::new(to), &never())
                .await
        }
    };
    fs_err::create_dir(site.dir().join("folder")).unwrap();
    fs_err::write(site.dir().join("file"), "x").unwrap();
    let mut said = vec![
        text(send(format!("{dir}/folder")).await),
        text(send(format!("{dir}/file/below")).await),
    ];
    let local = Path::new("/no/such/file");
    let target = FileTarget::new(format!("{dir}/x"));
    said.push(text(
        link.upload_file(local, &target, Progress::none(), &never())
            .await,
    ));
    let tree = TreeTarget::new(format!("{dir}/x"));
    said.push(text(
        link.upload_tree(local, &tree, Progress::none(), &never())
            .await,
    ));
    let tree = TreeTarget::new(format!("{dir}/file"));
    said.push(text(
        link.upload_tree(
            &site.dir().join("folder"),
            &tree,
            Progress::none(),
            &never(),
        )
        .await,
    ));
    let to = site.dir().join("got");
    for from in ["missing", "folder"] {
        let from = format!("{dir}/{from}");
        said.push(text(
            link.download_file(&from, &to, false, Progress::none(), &never())
                .await,
        ));
    }
    let from = format!("{dir}/file");
    said.push(text(
        link.download_tree(&from, &to, false, Progress::none(), &never())
            .await,
    ));
    let under_file = site.dir().join("file").join("x");
    said.push(text(
        link.download_file(&from, &under_file, false, Progress::none(), &never())
            .await,
    ));
    insta::assert_snapshot!("failures_say_what_and_leave_nothing", said.join("\n"));
    assert!(!to.exists());
    assert_eq!(
        fs_err::read_dir(site.dir().join("folder")).unwrap().count(),
        0
    );
}

async fn a_cancelled_upload_leaves_nothing(site: Site) {
    let link = site.link();
    let from = tempfile::tempdir().unwrap();
    let file = from.path().join("large");
    fs_err::File::create(&file)
        .unwrap()
        .set_len(2 << 30)
        .unwrap();
    let there = site.dir().join("there");
    fs_err::create_dir(&there).unwrap();
    let cancel = never();
    let token = cancel.clone();
    let progress = Progress::new(move |done, _| {
        if done > 8 << 20 {
            token.cancel();
        }
    });
    let target = FileTarget::new(there.join("large").to_str().unwrap());
    let error = link
        .upload_file(&file, &target, progress, &cancel)
        .await
        .unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Cancelled), "{error}");
    assert_eq!(fs_err::read_dir(&there).unwrap().count(), 0);
}
