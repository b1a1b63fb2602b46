//! Answers for people: columns without frames, so that `grep` and `awk` still work on them.

use comfy_table::{Table, presets};
use serde_json::Value;

/// A column: heading, and the member that it shows. A member path has its parts divided by `/`.
pub type Column = (&'static str, &'static str);

/// Rows of JSON objects under headings; a line that says so when there are none.
pub fn rows(columns: &[Column], items: &[Value]) -> String {
    if items.is_empty() {
        return "none\n".to_owned();
    }
    let mut table = plain();
    table.set_header(columns.iter().map(|(heading, _)| *heading));
    for item in items {
        table.add_row(columns.iter().map(|(_, member)| cell(item, member)));
    }
    finish(&table)
}

/// One object as a list of its members.
pub fn members(pairs: &[(&str, String)]) -> String {
    let mut table = plain();
    for (name, value) in pairs {
        table.add_row([*name, value.as_str()]);
    }
    finish(&table)
}

/// One JSON object, member by member; nested ones under their path.
pub fn object(value: &Value) -> String {
    let mut pairs = Vec::new();
    flatten("", value, &mut pairs);
    let pairs: Vec<(&str, String)> =
        pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    members(&pairs)
}

fn flatten(path: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    if let Value::Object(members) = value {
        for (name, member) in members {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            flatten(&path, member, pairs);
        }
    } else {
        pairs.push((path.to_owned(), text(value)));
    }
}

/// A member for people: nothing for null, lists joined.
pub fn cell(item: &Value, member: &str) -> String {
    item.pointer(&format!("/{member}")).map(text).unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Text from the network must not move the cursor of whoever reads it.
pub fn printable(text: &str) -> String {
    text.chars().map(|symbol| if symbol.is_control() { '\u{fffd}' } else { symbol }).collect()
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn finish(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_line_up_under_their_headings() {
        let items = [
            json!({"id": "ses_1", "login": "jan.k", "addresses": ["100.64.1.7", "2001:db8::/56"], "counts": {"size": 4}}),
            json!({"id": "ses_22", "login": "", "addresses": [], "counts": {"size": 16}}),
        ];
        let columns = [("ID", "id"), ("LOGIN", "login"), ("ADDRESSES", "addresses"), ("SIZE", "counts/size")];
        let text = rows(&columns, &items);
        assert_eq!(
            text,
            "ID      LOGIN  ADDRESSES                 SIZE\n\
             ses_1   jan.k  100.64.1.7,2001:db8::/56  4\n\
             ses_22  -      -                         16\n"
        );
        assert_eq!(rows(&columns, &[]), "none\n");
    }

    #[test]
    fn control_characters_from_the_network_do_not_reach_the_terminal() {
        let text = object(&json!({"login": "a\u{1b}[2Jb", "counts": {"size": 1}}));
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("counts.size"), "{text}");
    }
}
