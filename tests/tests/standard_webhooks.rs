//! Our Standard Webhooks signatures are those of the reference signer, the npm package `standardwebhooks`.

use std::process::Command;

use roost_edge::ingress::signature::{generic_key, standard_signature};
use serde_json::json;
use xtask::toolbox::Toolbox;

const SIGN: &str = "
    const { Webhook } = require('standardwebhooks');
    const cases = JSON.parse(process.argv[1]);
    const sign = ([secret, id, at, body]) => new Webhook(secret).sign(id, new Date(at * 1000), body);
    console.log(JSON.stringify(cases.map(sign)));
";

#[test]
fn we_sign_as_the_reference_does() {
    let toolbox = Toolbox::locate().expect("a toolbox");
    let modules = toolbox.node_modules().expect("run `cargo xtask setup` first");
    let long = "x".repeat(10_000);
    let cases = [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_1",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        ),
        ("whsec_c2hvcnQ=", "évènement", 0, "ünïcode 🚀"),
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "",
            1,
            "",
        ),
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "m.1",
            4_102_444_800,
            &long,
        ),
    ];
    let output = Command::new(toolbox.node().expect("a node"))
        .args(["-e", SIGN, "--", &json!(cases).to_string()])
        .env("NODE_PATH", modules)
        .output()
        .expect("node runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let theirs: Vec<String> = serde_json::from_slice(&output.stdout).expect("a list of signatures");
    let ours = cases.map(|(secret, id, at, body)| {
        standard_signature(&generic_key(secret).unwrap(), id, at, body.as_bytes())
    });
    assert_eq!(theirs, ours);
}
