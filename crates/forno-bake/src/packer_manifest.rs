//! What was made, in the file that Packer's `manifest` post-processor would write, for
//! pipelines whose next stage reads it.
//!
//! The file is added to, as Packer does. Whoever writes it holds the lock of its folder
//! for that moment, and puts the new one in its place in one step: two that end at once
//! lose nothing, and nobody reads half of it.

use std::io::{self, ErrorKind as IoKind, Write as _};
use std::path::Path;

use rustix::fs::FlockOperation;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{Error, ErrorKind, ExitCode, Manifest};

/// The type of Packer's builder that makes such images.
const BUILDER: &str = "amazon-ebs";

/// Adds the images of one run to the file, which its folder must be there for.
pub fn append(file: &Path, made: &[Manifest]) -> Result<(), Error> {
    append_as(file, made, Uuid::new_v4())
}

fn append_as(file: &Path, made: &[Manifest], run: Uuid) -> Result<(), Error> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Reworded {
            message: format!("cannot add to the manifest {}: {error}", file.display()),
            exit: ExitCode::Unexpected,
        })
        .with_hint("the images are made all the same; `forno show` has their ids")
    };
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        let lock = fs_err::File::open(folder)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        let mut whole = read(file)?;
        let builds = whole.entry("builds").or_insert_with(|| json!([]));
        let Value::Array(builds) = builds else {
            return Err(foreign());
        };
        let run = run.to_string();
        builds.extend(made.iter().map(|manifest| build(manifest, &run)));
        whole.insert("last_run_uuid".to_owned(), json!(run));
        let mut fresh = tempfile::Builder::new()
            .prefix(".packer-manifest")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder)?;
        serde_json::to_writer_pretty(&mut fresh, &whole)?;
        fresh.write_all(b"\n")?;
        fresh.as_file().sync_all()?;
        fresh.persist(file).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| failed(&error))
}

fn foreign() -> io::Error {
    io::Error::new(
        IoKind::InvalidData,
        "what is there is no manifest of Packer's: expected an object with a list `builds`",
    )
}

fn read(file: &Path) -> io::Result<Map<String, Value>> {
    match fs_err::read(file) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(Value::Object(whole)) => Ok(whole),
            _ => Err(foreign()),
        },
        Err(error) if error.kind() == IoKind::NotFound => Ok(Map::new()),
        Err(error) => Err(error),
    }
}

fn build(manifest: &Manifest, run: &str) -> Value {
    let mut images: Vec<String> = manifest
        .copies
        .iter()
        .map(|(region, id)| format!("{region}:{id}"))
        .collect();
    images.push(format!("{}:{}", manifest.region, manifest.image_id));
    images.sort();
    json!({
        "name": manifest.image,
        "builder_type": BUILDER,
        "build_time": manifest.finished.as_second(),
        "files": null,
        "artifact_id": images.join(","),
        "packer_run_uuid": run,
        "custom_data": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(image: &str, copies: &[(&str, &str)]) -> Manifest {
        let whole = json!({
            "v": 1, "bake": format!("{image}-01hzzzzzzzzzzzzzzzzzzzzzzz"), "image": image,
            "image_id": "ami-1", "image_name": "n", "snapshots": [], "region": "us-east-1",
            "account": null, "source_id": "ami-0", "source_name": null,
            "digest": { "whole": "", "parts": {} }, "forno_version": "0",
            "started": "2026-11-22T10:00:00Z", "finished": "2026-11-22T10:01:00Z",
            "phases": [], "packages": [], "tags": {},
        });
        let mut manifest: Manifest = serde_json::from_value(whole).unwrap();
        for (region, id) in copies {
            manifest
                .copies
                .insert((*region).to_owned(), (*id).to_owned());
        }
        manifest
    }

    #[test]
    fn it_is_added_to_as_packer_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("packer-manifest.json");
        let first = Uuid::from_u128(1);
        let copies = [("sa-east-1", "ami-2"), ("eu-west-1", "ami-3")];
        append_as(&file, &[manifest("base", &copies)], first).unwrap();
        append_as(&file, &[manifest("worker", &[])], Uuid::from_u128(2)).unwrap();
        let text = fs_err::read_to_string(&file).unwrap();
        insta::assert_snapshot!(text);
        // Nothing else stays in the folder.
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn many_at_once_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("packer-manifest.json");
        std::thread::scope(|scope| {
            for number in 0..16_u128 {
                let file = &file;
                scope.spawn(move || {
                    let made = [manifest(&format!("image-{number}"), &[])];
                    append_as(file, &made, Uuid::from_u128(number)).unwrap();
                });
            }
        });
        let whole: Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
        assert_eq!(whole["builds"].as_array().unwrap().len(), 16);
    }

    #[test]
    fn what_is_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("notes.json");
        for text in ["[]", "no JSON", r#"{"builds": 7}"#] {
            fs_err::write(&file, text).unwrap();
            let error = append_as(&file, &[manifest("base", &[])], Uuid::nil()).unwrap_err();
            assert!(
                error.to_string().contains("no manifest of Packer's"),
                "{error}"
            );
            assert_eq!(fs_err::read_to_string(&file).unwrap(), text);
        }
        let nowhere = dir.path().join("nowhere/manifest.json");
        append_as(&nowhere, &[], Uuid::nil()).unwrap_err();
    }
}
