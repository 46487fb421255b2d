//! `POST /send-list` and `/send-buttons`. WhatsApp shows neither to people whom an ordinary companion writes to (such
//! messages are acknowledged and stay invisible), so both go out as a text with numbered choices, and the answer says so.

use std::{collections::HashSet, fmt::Write as _};

use axum::{extract::State, http::HeaderMap, response::Response};
use serde_json::{Map, Value, json};

use super::{
    ApiError, App, Instance,
    auth::{Caller, ToSend},
    body::Object,
    fields::{self, Faults},
    send::{self, Common, TO},
};
use crate::account::Body;

/// Lengths in characters, after those of WhatsApp's own interactive kinds, with room for what was made for other servers.
const TEXT_MAX: usize = 4096;
const LINE_MAX: usize = 60;
const TITLE_MAX: usize = 100;
const DESCRIPTION_MAX: usize = 255;
const ID_MAX: usize = 256;
/// Sections of a list, rows in all of them, buttons.
const SECTIONS_MAX: usize = 10;
const ROWS_MAX: usize = 100;
const BUTTONS_MAX: usize = 10;

/// Something to choose.
#[derive(Debug, PartialEq)]
struct Choice {
    id: String,
    title: String,
    description: Option<String>,
}

/// Some of it, under a heading.
#[derive(Debug, PartialEq)]
struct Section {
    title: Option<String>,
    rows: Vec<Choice>,
}

/// `POST /send-list`: `text`, `title`, `footer`, `button_text`, `sections`.
pub(super) async fn list<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    headers: HeaderMap,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let command = Common::read(&caller, &headers, &body, &TO, &mut faults);
    // Where the kind is shown, the word on the button that opens the list.
    limited(&body.members, &["button_text", "buttonText"], LINE_MAX, &mut faults);
    let sections = sections(&body.members, &mut faults);
    send(&app, command, &body.members, &sections, faults, "List sent successfully").await
}

/// `POST /send-buttons`: `text`, `title`, `footer`, `buttons`.
pub(super) async fn buttons<I: Instance>(
    caller: Caller<ToSend>,
    State(app): State<App<I>>,
    headers: HeaderMap,
    body: Object,
) -> Result<Response, ApiError> {
    let mut faults = Faults::default();
    let command = Common::read(&caller, &headers, &body, &TO, &mut faults);
    let sections = vec![Section { title: None, rows: read_buttons(&body.members, &mut faults) }];
    send(&app, command, &body.members, &sections, faults, "Buttons sent successfully").await
}

async fn send<I: Instance>(
    app: &App<I>,
    command: Option<Common>,
    members: &Map<String, Value>,
    sections: &[Section],
    mut faults: Faults,
    done: &str,
) -> Result<Response, ApiError> {
    let title = limited(members, &["title"], LINE_MAX, &mut faults);
    let text = limited(members, &["text", "description", "message"], TEXT_MAX, &mut faults);
    if text.is_none()
        && fields::first(members, &["text", "description", "message"]).is_none_or(Value::is_string)
    {
        faults.add("text", fields::required("text"));
    }
    let footer = limited(members, &["footer"], LINE_MAX, &mut faults);
    faults.check()?;
    let (Some(text), Some(command)) = (text, command) else { return Err(ApiError::Internal) };
    let said = as_text(title.as_deref(), &text, sections, footer.as_deref());
    let sent = app.parts.instance.send_message(command.with(Body::Text(said))).await?;
    let rows = sections.iter().flat_map(|section| &section.rows);
    let choices: Vec<Value> =
        (1..).zip(rows).map(|(n, row)| json!({ "number": n, "id": row.id, "title": row.title })).collect();
    Ok(send::answer_with(&sent, done, [("degraded", Value::Bool(true)), ("choices", Value::Array(choices))]))
}

/// What people see.
fn as_text(title: Option<&str>, text: &str, sections: &[Section], footer: Option<&str>) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    if let Some(title) = title {
        let _ = write!(out, "*{title}*\n\n");
    }
    out.push_str(text);
    let mut number = 0;
    for section in sections {
        out.push('\n');
        if let Some(title) = &section.title {
            let _ = write!(out, "\n*{title}*");
        }
        for row in &section.rows {
            number += 1;
            let _ = write!(out, "\n{number}. {}", row.title);
            if let Some(description) = &row.description {
                let _ = write!(out, " – {description}");
            }
        }
    }
    if let Some(footer) = footer {
        let _ = write!(out, "\n\n_{footer}_");
    }
    out
}

/// An optional text of so many characters, on the whole without white space around it.
fn limited(
    members: &Map<String, Value>,
    names: &[&'static str],
    most: usize,
    faults: &mut Faults,
) -> Option<String> {
    let field = names.first().copied().unwrap_or_default();
    let text = fields::text(members, names, faults)?.trim();
    if text.chars().count() > most {
        faults.add(field, format!("The {field} field must not be longer than {most} characters."));
    }
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn sections(members: &Map<String, Value>, faults: &mut Faults) -> Vec<Section> {
    let wrong = format!(
        "The sections field must be a list of 1 to {SECTIONS_MAX} objects with title and rows, each row an \
         object with title (at most {TITLE_MAX} characters) and, if wanted, id and description; \
         {ROWS_MAX} rows in all, different ids, and titles where there are several sections."
    );
    let Some(given) = fields::first(members, &["sections"]) else {
        faults.add("sections", fields::required("sections"));
        return Vec::new();
    };
    let list = given.as_array().filter(|list| (1..=SECTIONS_MAX).contains(&list.len()));
    let several = list.is_some_and(|list| list.len() > 1);
    let mut count = 0;
    let mut section = |given: &Value| {
        let title = line(given, "title", TITLE_MAX)?;
        let rows = given.get("rows")?.as_array().filter(|rows| (1..=ROWS_MAX).contains(&rows.len()))?;
        let rows = rows
            .iter()
            .map(|row| {
                count += 1;
                choice(row, count)
            })
            .collect::<Option<Vec<_>>>()?;
        (title.is_some() || !several).then_some(Section { title, rows })
    };
    let sections = list.and_then(|list| list.iter().map(&mut section).collect::<Option<Vec<_>>>());
    let good =
        |sections: &Vec<Section>| distinct(sections.iter().flat_map(|section| &section.rows), ROWS_MAX);
    sections.filter(good).unwrap_or_else(|| {
        faults.add("sections", wrong);
        Vec::new()
    })
}

fn read_buttons(members: &Map<String, Value>, faults: &mut Faults) -> Vec<Choice> {
    let Some(given) = fields::first(members, &["buttons"]) else {
        faults.add("buttons", fields::required("buttons"));
        return Vec::new();
    };
    let list = given.as_array().filter(|list| (1..=BUTTONS_MAX).contains(&list.len()));
    let buttons = list.and_then(|list| {
        (1..).zip(list).map(|(number, button)| choice(button, number)).collect::<Option<Vec<_>>>()
    });
    buttons.filter(|buttons| distinct(buttons.iter(), BUTTONS_MAX)).unwrap_or_else(|| {
        faults.add(
            "buttons",
            format!(
                "The buttons field must be a list of 1 to {BUTTONS_MAX} objects with title (at most \
                 {TITLE_MAX} characters) and, if wanted, id; different ids."
            ),
        );
        Vec::new()
    })
}

/// A row or a button; its number is its id where it has none.
fn choice(given: &Value, number: usize) -> Option<Choice> {
    let id = line(given, "id", ID_MAX)?;
    Some(Choice {
        title: line(given, "title", TITLE_MAX)??,
        id: id.unwrap_or_else(|| number.to_string()),
        description: line(given, "description", DESCRIPTION_MAX)?,
    })
}

/// A member that is one line. Outer `None`: it is something else, or too long; inner: it is not there.
fn line(given: &Value, name: &str, most: usize) -> Option<Option<String>> {
    match given.as_object()?.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => {
            let text = text.trim();
            let fits = text.chars().count() <= most && !text.contains(['\r', '\n']);
            fits.then(|| Some(text.to_owned()).filter(|text| !text.is_empty()))
        }
        Some(_) => None,
    }
}

fn distinct<'a>(rows: impl Iterator<Item = &'a Choice>, most: usize) -> bool {
    let ids: Vec<&str> = rows.map(|row| row.id.as_str()).collect();
    ids.len() <= most && ids.iter().collect::<HashSet<_>>().len() == ids.len()
}
