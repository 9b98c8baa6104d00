//! Machines whose forno is gone for good.

use forno_aws::{Instance, InstanceState};
use rustix::process::Signal;

use crate::support::{Machine, Recipe, Sandbox, eventually};

/// Long enough for a container to boot and to be connected to.
const AFTER: &str = "20s";

#[test]
fn a_machine_without_its_forno_ends_itself_and_one_of_the_image_does_not() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    sandbox.recipe(&Recipe::new("quick").shell("quick", "true"));
    // Longer than a machine lives on alone: only signs of life get it through.
    sandbox.recipe(&Recipe::new("slow").shell("long", "sleep 25; echo begun; sleep 3600"));
    let endpoint = sandbox.serve();
    let bake = |image| ["bake", image, "--local", "--orphan-after", AFTER];
    sandbox.run(&bake("quick")).code(0);
    let image = sandbox.manifest()["image_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let free = endpoint.launch(
        &image,
        "#!/bin/sh\n\
         { systemctl list-units --all 'forno-*'; grep -rl forno-deadline /etc /var/lib/cloud/instances; \
         echo looked; } >/dev/console 2>&1\n",
    );

    let slow = sandbox.start(&bake("slow"));
    slow.until_stderr("begun");
    slow.signal(Signal::KILL);
    drop(slow);
    let reason = |instance: &Instance| {
        let reason = instance.state_reason.as_ref()?;
        Some(reason.code.clone())
    };
    let of_slow = || {
        let tagged = endpoint.instances("forno:bake");
        let mut slow = tagged
            .into_iter()
            .filter(|instance| instance.tags.get("forno:image") == Some("slow"));
        slow.next().map(|slow| (reason(&slow), slow.state))
    };
    let itself = Some("Client.InstanceInitiatedShutdown".to_owned());
    eventually(&Some((itself, InstanceState::Terminated)), of_slow);

    // Started before, and alone for longer.
    let by_hand = endpoint.instances("by-hand");
    assert_eq!(by_hand[0].state, InstanceState::Running, "{by_hand:?}");
    let console = endpoint.console(&free);
    assert!(console.contains("looked"), "{console}");
    assert!(!console.contains("forno-deadline"), "{console}");
}
