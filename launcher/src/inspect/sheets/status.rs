//! What runs, and whether it does.

use crate::inspect::{
    ask::Answers,
    sheet::{Sheet, cell},
};

pub(super) fn sheets(answers: &Answers) -> Vec<Sheet> {
    let version = answers.get("query-version");
    let number = |name: &str| cell(&version["qemu"][name]);
    let qemu = match version.is_null() {
        true => String::new(),
        false => {
            let package = cell(&version["package"]);
            let package = if package.is_empty() {
                package
            } else {
                format!(" ({package})")
            };
            format!(
                "{}.{}.{}{package}",
                number("major"),
                number("minor"),
                number("micro")
            )
        }
    };
    let machine = cell(answers.get("qom-get /machine type"));
    let machine = machine
        .strip_suffix("-machine")
        .unwrap_or(&machine)
        .to_owned();
    let accelerator = match answers.get("query-kvm")["enabled"].as_bool() {
        Some(true) => "kvm",
        Some(false) => "tcg (emulation)",
        None => "",
    };
    vec![Sheet::facts(
        "",
        [
            ("name", cell(&answers.get("query-name")["name"])),
            ("uuid", cell(&answers.get("query-uuid")["UUID"])),
            ("state", cell(&answers.get("query-status")["status"])),
            ("running", cell(&answers.get("query-status")["running"])),
            ("machine", machine),
            ("accelerator", accelerator.to_owned()),
            ("qemu", qemu),
        ],
    )]
}
