//! Bakes on containers: the whole truth but for the kernel.

use rustix::process::Signal;

use crate::support::{Machine, Recipe, Sandbox, eventually, traces};

#[test]
fn shell_file_ansible_and_reboot_make_an_image_that_proves_it() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    sandbox.file("images/tree/etc.conf", "from a folder\n");
    sandbox.file("images/tree/bin/tool", "#!/bin/sh\necho tool\n");
    sandbox.file(
        "images/play.yml",
        "- hosts: all\n  become: true\n  gather_facts: true\n  tasks:\n\
         \x20   - name: write what the play knows\n\
         \x20     ansible.builtin.copy:\n\
         \x20       dest: /etc/forno-play\n\
         \x20       content: \"{{ ansible_facts['distribution'] }} {{ word }}\\n\"\n\
         \x20       mode: '0640'\n",
    );
    sandbox.recipe(
        &Recipe::new("whole")
            .with(
                "[builder]\nuser = 'admin'\nuser_data = \"#!/bin/sh\\ntouch /etc/forno-user-data\\n\"\n",
            )
            .step("name = 'as root'\nshell = { run = 'id -un > /etc/forno-who', sudo = true }")
            .shell("as the default user", "test \"$(id -un)\" = admin; echo \"$HOME\" > home")
            .step("name = 'one file'\nfile = { content = 'secret of none', to = '/etc/forno/deep/file', mode = '0600', owner = 'admin' }")
            .step("name = 'a folder'\nfile = { from = 'tree', to = '/opt/tree' }")
            .step("name = 'a play'\nansible = { playbook = 'play.yml', extra_vars = { word = 'baked' } }")
            .step("name = 'boot id before'\nshell = { run = 'cat /proc/sys/kernel/random/boot_id > /etc/forno-boot; systemctl show --property=UserspaceTimestampMonotonic > /etc/forno-started', sudo = true }")
            .step("name = 'again'\nreboot = {}")
            .step("name = 'after'\nshell = { run = 'touch /etc/forno-after', sudo = true }")
            .check("file = '/etc/forno/deep/file'\nmode = '0600'\nowner = 'admin'\ncontains = 'secret of none'")
            .check("file = '/etc/forno-after'")
            .check("file = '/etc/forno-user-data'")
            .check("package = 'openssh-server'")
            .check("service = 'ssh'\nactive = true")
            .check("port = 22")
            .check("user = 'admin'")
            .check("command = 'grep -qx \"Debian baked\" /etc/forno-play'\nsudo = true")
            .test("name = 'files survived'\nrun = 'test \"$(cat /etc/forno-who)\" = root && test \"$(sh /opt/tree/bin/tool)\" = tool'")
            .test("name = 'the machine has its own identity'\nrun = 'test -s /etc/machine-id && ls /etc/ssh/ssh_host_*_key'\nsudo = true")
            .test("service = 'ssh'\nactive = true"),
    );
    let endpoint = sandbox.serve();
    sandbox.run(&["bake", "whole", "--local"]).code(0);
    endpoint.holds_only_images(1);
    drop(endpoint);
    eventually(&Vec::<String>::new(), || traces(sandbox.path()));
}

#[test]
fn a_failing_step_leaves_neither_resources_nor_machines() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    sandbox.recipe(&Recipe::new("broken").shell("breaks", "echo on the builder; exit 7"));
    let endpoint = sandbox.serve();
    sandbox
        .run(&["bake", "broken", "--local"])
        .code(30)
        .says(&["breaks", "on the builder", "7"]);
    endpoint.holds_nothing();
    drop(endpoint);
    eventually(&Vec::<String>::new(), || traces(sandbox.path()));
}

#[test]
fn a_failing_test_takes_the_image_along() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    sandbox.recipe(
        &Recipe::new("unproven")
            .shell("nothing", "true")
            .test("name = 'wrong'\nrun = 'test -e /no/such/file'"),
    );
    let endpoint = sandbox.serve();
    sandbox
        .run(&["bake", "unproven", "--local"])
        .code(31)
        .says(&["wrong"]);
    endpoint.holds_nothing();
}

#[test]
fn ctrl_c_during_a_step_takes_the_machine_down() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    sandbox.recipe(&Recipe::new("slow").shell("long", "echo begun; sleep 3600"));
    let bake = sandbox.start(&["bake", "slow", "--local"]);
    bake.until_stderr("begun");
    bake.signal(Signal::INT);
    bake.finish().code(130);
    eventually(&Vec::<String>::new(), || traces(sandbox.path()));
}

#[test]
fn a_killed_bake_leaves_no_process_mount_or_loop_device() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    sandbox.recipe(&Recipe::new("slow").shell("long", "echo begun; sleep 3600"));
    let bake = sandbox.start(&["bake", "slow", "--local"]);
    bake.until_stderr("begun");
    let before = traces(sandbox.path());
    assert!(
        before.iter().any(|trace| trace.starts_with("loop")),
        "{before:?}"
    );
    assert!(
        before.iter().any(|trace| trace.starts_with("process")),
        "{before:?}"
    );
    bake.signal(Signal::KILL);
    drop(bake);
    eventually(&Vec::<String>::new(), || traces(sandbox.path()));
}
