//! Files and folders, with their progress as events.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use forno_events::{Event, Unit};
use forno_link::{Command, FileTarget, Link, Progress, TreeTarget, capture};
use secrecy::ExposeSecret;

use crate::step::{Download, Upload, UploadSource};
use crate::{StepContext, StepError};

/// Between two events of progress.
const PACE: Duration = Duration::from_millis(200);

pub(crate) async fn upload(
    link: &dyn Link,
    upload: &Upload,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let file = FileTarget {
        mode: upload.mode,
        owner: Some(upload.owner.clone()),
        group: Some(upload.group.clone()),
        sudo: true,
        public: ctx.public,
        ..FileTarget::new(&upload.to)
    };
    let cancel = &ctx.cancel;
    match &upload.source {
        UploadSource::Content(text) => {
            let content = Bytes::copy_from_slice(text.expose_secret().as_bytes());
            link.upload_bytes(content, &file, cancel).await?;
        }
        UploadSource::File(from) => {
            link.upload_file(from, &file, progress(ctx), cancel).await?;
        }
        UploadSource::Folder(from) => {
            let tree = TreeTarget {
                owner: file.owner,
                group: file.group,
                sudo: true,
                public: ctx.public,
                ..TreeTarget::new(&upload.to)
            };
            link.upload_tree(from, &tree, progress(ctx), cancel).await?;
        }
    }
    Ok(())
}

pub(crate) async fn download(
    link: &dyn Link,
    download: &Download,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let (from, to) = (&download.from, &download.to);
    let is_folder = Command::script("[ -d \"$1\" ]", [from]).sudo(true);
    let is_folder = capture(link, is_folder, &ctx.cancel).await?.exit.success();
    if is_folder {
        link.download_tree(from, to, true, progress(ctx), &ctx.cancel)
            .await?;
    } else {
        link.download_file(from, to, true, progress(ctx), &ctx.cancel)
            .await?;
    }
    Ok(())
}

fn progress(ctx: &StepContext) -> Progress {
    let ctx = ctx.clone();
    let last = Mutex::new(None::<Instant>);
    Progress::new(move |done, total| {
        let Ok(mut last) = last.lock() else { return };
        let now = Instant::now();
        let over = total == Some(done);
        if over || last.is_none_or(|last| now - last >= PACE) {
            *last = Some(now);
            ctx.emitter.emit(Event::Progress {
                step: ctx.step.clone(),
                done,
                total,
                unit: Unit::Bytes,
            });
        }
    })
}
