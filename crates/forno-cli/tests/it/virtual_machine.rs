//! An image made on a container is an image for a virtual machine too.

use crate::support::{Machine, Recipe, Sandbox, eventually, traces};

#[test]
fn an_image_of_a_container_bake_boots_as_a_virtual_machine() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    if Sandbox::real(Machine::Vm).is_none() {
        return;
    }
    sandbox.recipe(&Recipe::new("base").step(
        "name = 'mark'\nshell = { run = 'echo container > /etc/forno-made-by', sudo = true }",
    ));
    sandbox.run(&["bake", "base", "--local"]).code(0);

    sandbox.recipe(
        &Recipe::new("child")
            .from("base")
            .with("[builder.timeouts]\nconnect = '30m'\nready = '30m'\nstop = '30m'\n")
            .shell(
                "it is a virtual machine with a kernel of its own",
                "test \"$(systemd-detect-virt --container)\" = none && grep -qx container /etc/forno-made-by",
            )
            .shell("it reaches the archive of packages", "sudo apt-get update -q")
            .step("name = 'restart'\nreboot = {}")
            .shell(
                "cloud-init found EC2, and nothing of the system failed",
                "test \"$(cloud-init query cloud_name)\" = aws && test -z \"$(systemctl --failed --quiet --plain)\"",
            ),
    );
    sandbox
        .run(&["bake", "child", "--local", "--machine", "vm"])
        .code(0);
    eventually(&Vec::<String>::new(), || traces(sandbox.path()));
}
