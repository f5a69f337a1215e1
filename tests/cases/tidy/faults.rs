//! The fault table: each row names the tests that inject it.

use crate::project::Project;

/// Rows that do not name a test that is there, and a table that is shorter than `least`.
pub(crate) fn rows(project: &Project, least: usize) -> Vec<String> {
    let page = project.get("ARCHITECTURE.md").unwrap_or_default();
    let lines = page.lines().enumerate();
    let below = lines.skip_while(|(_, line)| *line != "## Faults").skip(1);
    let table = below
        .take_while(|(_, line)| !line.starts_with("## "))
        .filter(|(_, line)| line.starts_with("| "))
        .skip(1);
    let mut broken = Vec::new();
    let mut count = 0;
    for (index, row) in table {
        count += 1;
        let cell = row.trim_end_matches(" |").rsplit(" | ").next();
        let tests = cell.unwrap_or_default().split('`').skip(1).step_by(2);
        let mut file = "";
        let mut named = false;
        for test in tests {
            let mut words = test.split(' ');
            let (first, second) = (words.next().unwrap_or_default(), words.next());
            // A row names the file once.
            let name = match second {
                Some(name) => {
                    file = first;
                    name
                }
                None => first,
            };
            named = true;
            if !is_there(project, file, name) {
                broken.push(format!(
                    "ARCHITECTURE.md:{}: no test `{name}` in `tests/cases/{file}`",
                    index + 1
                ));
            }
        }
        if !named {
            broken.push(format!("ARCHITECTURE.md:{}: no test is named", index + 1));
        }
    }
    if count < least {
        broken.push(format!("ARCHITECTURE.md: {count} faults, {least} at least"));
    }
    broken
}

/// A test is a function, or a case of the node's, which has a name of its own.
fn is_there(project: &Project, file: &str, name: &str) -> bool {
    let text = project.get(&format!("tests/cases/{file}"));
    let forms = [format!("fn {name}("), format!("name: \"{name}\"")];
    text.is_some_and(|text| forms.iter().any(|form| text.contains(form)))
}
