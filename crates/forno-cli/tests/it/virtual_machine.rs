//! An image made on a container is an image for a virtual machine too.
//!
//! Without KVM a bake on one takes minutes of two processors, so there it is run
//! on demand only (`FORNO_VM`, as `make fire` sets it); that one boots at all is
//! tested with forno-machine in any case.

use crate::support::{Machine, Recipe, Sandbox, eventually, traces};

#[test]
fn an_image_of_a_container_bake_boots_as_a_virtual_machine() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    if !wanted(&sandbox) || Sandbox::real(Machine::Vm).is_none() {
        return;
    }
    sandbox.recipe(&Recipe::new("base").step(
        "name = 'mark'\nshell = { run = 'echo container > /etc/forno-made-by', sudo = true }",
    ));
    sandbox.run(&["bake", "base", "--local"]).code(0);

    sandbox.recipe(
        &Recipe::new("child")
            .from("base")
            .with("[builder.timeouts]\nconnect = '30m'\nready = '30m'\nstop = '30m'\n[[builder.volumes]]\ndevice = '/dev/sdf'\nsize = '1GiB'\n")
            .shell(
                "it has its other volume, by the number that EC2 gave it",
                "disk=$(lsblk -dnro PATH,SERIAL | sed -n 's/ vol[0-9a-f]*$//p') && sudo mkfs.ext4 -q -L data $disk && sudo mount $disk /mnt && echo kept | sudo tee /mnt/file",
            )
            .shell(
                "it is a virtual machine with a kernel of its own",
                "test \"$(systemd-detect-virt --container)\" = none && grep -qx container /etc/forno-made-by",
            )
            .shell("it reaches the archive of packages", "sudo apt-get update -q")
            .step("name = 'restart'\nreboot = {}")
            .shell(
                "cloud-init found EC2, and nothing of the system failed",
                "test \"$(cloud-init query cloud_name)\" = aws && test -z \"$(systemctl --failed --quiet --plain)\"",
            )
            .test("name = 'so has a machine of the image'\nrun = 'mount LABEL=data /mnt && grep -x kept /mnt/file'\nsudo = true"),
    );
    sandbox
        .run(&["bake", "child", "--local", "--machine", "vm"])
        .code(0);
    eventually(&Vec::<String>::new(), || traces(sandbox.path()));
}

fn wanted(sandbox: &Sandbox) -> bool {
    let doctor = sandbox.run(&["local", "doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&doctor.stdout).expect("a report");
    let has_kvm = ["proven", "likely"].contains(&report["kvm"]["state"].as_str().unwrap_or(""));
    #[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
    let asked = std::env::var_os("FORNO_VM").is_some();
    has_kvm || asked
}
