//! An embedding binary as small as can be: the tests' guardian and relays run
//! in it, and it holds a host that a test may kill.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use forno_machine::{DataDisk, Host, HostConfig, Kind, MachineSpec};

fn main() -> ExitCode {
    let args = std::env::args_os().collect::<Vec<_>>();
    if let Some(code) = forno_machine::helper_main(&args) {
        return code;
    }
    let [_, verb, kind, rest @ ..] = &args[..] else {
        return ExitCode::from(2);
    };
    let kind = kind.to_str().and_then(|kind| kind.parse::<Kind>().ok());
    match (verb.to_str(), kind, rest) {
        (Some("hold"), Some(kind), [run_dir, disk, imds, public, data @ ..]) => {
            hold(kind, run_dir, disk, imds, public, data)
        }
        _ => ExitCode::from(2),
    }
}

fn data_disk(path: &OsString) -> DataDisk {
    DataDisk {
        device: "/dev/sdf".to_owned(),
        serial: "vol0123456789abcdef0".to_owned(),
        disk: path.into(),
    }
}

/// Starts one machine, says so on standard output, and stays.
fn hold(
    kind: Kind,
    run_dir: &OsString,
    disk: &OsString,
    imds: &OsString,
    public: &OsString,
    data: &[OsString],
) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return ExitCode::FAILURE;
    };
    let run_dir = PathBuf::from(run_dir);
    let public = public.to_str().and_then(|text| text.parse().ok());
    let started = runtime.block_on(async {
        let host = Host::start(HostConfig {
            run_dir: run_dir.clone(),
            cache_dir: run_dir.join("cache"),
            kind: Some(kind),
            helper_exe: None,
        })
        .await?;
        let spec = MachineSpec {
            id: format!("i-held-{kind}"),
            dir: run_dir.join("machine"),
            disk: disk.into(),
            data_disks: data.iter().map(data_disk).collect(),
            vcpus: 1,
            memory_mib: 512,
            public_address: public.unwrap_or([127, 88, 1, 1].into()),
            private_address: [172, 31, 9, 9].into(),
            imds_socket: imds.into(),
            services: Vec::new(),
        };
        let machine = host.launch(spec).await?;
        Ok::<_, forno_machine::Error>((host, machine))
    });
    match started {
        Ok((_host, machine)) => {
            let told = writeln!(std::io::stdout(), "{}", machine.ssh_address());
            if told.is_err() {
                return ExitCode::FAILURE;
            }
            runtime.block_on(std::future::pending())
        }
        Err(error) => {
            drop(writeln!(std::io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}
