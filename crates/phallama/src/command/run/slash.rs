//! What begins with `/` in a conversation.

use serde_json::Value;

use super::{format, think};

/// Something to do instead of asking.
#[derive(Debug, PartialEq)]
pub(super) enum Slash {
    Bye,
    Clear,
    Help(&'static str),
    Set(Setting),
    Show(Part),
    Load(String),
    Save(String),
}

/// What `/set` changes.
#[derive(Debug, PartialEq)]
pub(super) enum Setting {
    Parameter(String, Value),
    System(String),
    /// Keep what is typed in a file.
    History(bool),
    Wordwrap(bool),
    Format(Option<Value>),
    /// Times, pod, cost and receipt after each answer.
    Verbose(bool),
    Think(Option<Value>),
}

/// What `/show` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Info,
    Parameters,
    System,
    /// What a pod does not tell about its model, by Ollama's word for it.
    Untold(&'static str),
}

/// Every first word, for completion.
pub(super) const WORDS: [&str; 9] =
    ["/bye", "/clear", "/exit", "/help", "/load", "/save", "/set", "/show", "/?"];
/// Every second word of `/set`, for completion.
pub(super) const SETTINGS: [&str; 12] = [
    "parameter",
    "system",
    "history",
    "nohistory",
    "wordwrap",
    "nowordwrap",
    "format",
    "noformat",
    "verbose",
    "quiet",
    "think",
    "nothink",
];
/// Every second word of `/show`.
pub(super) const PARTS: [&str; 6] =
    ["info", "parameters", "system", "license", "modelfile", "template"];

/// Ollama's options that a pod knows, and whether each is a whole number, a number or text.
pub(super) const PARAMETERS: [(&str, Kind); 16] = [
    ("num_predict", Kind::Whole),
    ("num_ctx", Kind::Whole),
    ("temperature", Kind::Number),
    ("top_p", Kind::Number),
    ("top_k", Kind::Whole),
    ("min_p", Kind::Number),
    ("seed", Kind::Whole),
    ("stop", Kind::Texts),
    ("repeat_penalty", Kind::Number),
    ("repeat_last_n", Kind::Whole),
    ("presence_penalty", Kind::Number),
    ("frequency_penalty", Kind::Number),
    ("typical_p", Kind::Number),
    ("mirostat", Kind::Whole),
    ("mirostat_tau", Kind::Number),
    ("mirostat_eta", Kind::Number),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Whole,
    Number,
    Texts,
}

const HELP: &str = "\
/set            what answers are made with and how they are shown
/show           facts about the model and this conversation
/load NAME      another model, or a conversation that was saved
/save NAME      keep this conversation in a file that only you can read
/clear          forget what was said
/bye            leave (also Ctrl-D)
/?, /help       this; `/? set`, `/? show`, `/? shortcuts` for more

\"\"\" begins and ends a message of several lines. Paths of images are sent along.";

const SET: &str = "\
/set parameter NAME VALUE   e.g. temperature 0.2, num_predict 200, seed 7, stop END
/set system TEXT            system message
/set history, nohistory     keep what you type in a file, or in memory only (as at the start)
/set wordwrap, nowordwrap   break lines between words
/set format json            answers are JSON; also a schema, or @FILE with one
/set noformat
/set verbose, quiet         times, pod, cost and receipt after each answer, or not
/set think [LEVEL], nothink whether, and how much, the model thinks";

const SHOW: &str = "\
/show info         the model: pods, prices, context
/show parameters   what was set
/show system       the system message";

const SHORTCUTS: &str = "\
Ctrl-C      stop the answer, or drop the line; the conversation stays
Ctrl-D      leave
Ctrl-A, -E  begin and end of the line      Alt-B, -F  a word back, forward
Ctrl-U, -K  delete to the begin, end       Ctrl-W     delete the word before
Ctrl-L      clear the screen               Ctrl-R     search what was typed
Tab         complete a command             Up, Down   what was typed before";

/// Reads it; the error is what to tell the user.
pub(super) fn parse(text: &str) -> Result<Slash, String> {
    let (word, rest) = split(text);
    Ok(match word {
        "/bye" | "/exit" => Slash::Bye,
        "/clear" => Slash::Clear,
        "/?" | "/help" => Slash::Help(help(rest)),
        "/set" if rest.is_empty() => Slash::Help(SET),
        "/set" => Slash::Set(setting(rest)?),
        "/show" if rest.is_empty() => Slash::Help(SHOW),
        "/show" => Slash::Show(part(rest)?),
        "/load" | "/save" if rest.is_empty() => return Err(format!("usage: {word} NAME")),
        "/load" => Slash::Load(rest.to_owned()),
        "/save" => Slash::Save(rest.to_owned()),
        _ => return Err(format!("unknown command `{word}`; type /? for help")),
    })
}

fn help(topic: &str) -> &'static str {
    match topic.trim_start_matches('/') {
        "set" => SET,
        "show" => SHOW,
        "shortcuts" => SHORTCUTS,
        _ => HELP,
    }
}

fn part(name: &str) -> Result<Part, String> {
    Ok(match name {
        "info" => Part::Info,
        "parameters" => Part::Parameters,
        "system" => Part::System,
        "license" => Part::Untold("license"),
        "modelfile" => Part::Untold("modelfile"),
        "template" => Part::Untold("template"),
        _ => return Err(format!("`{name}` cannot be shown; type `/? show`")),
    })
}

fn setting(text: &str) -> Result<Setting, String> {
    let (name, value) = split(text);
    let setting = match name {
        "parameter" => return parameter(value),
        "system" if value.is_empty() => return Err("usage: /set system TEXT".to_owned()),
        "system" => return Ok(Setting::System(unquote(value).to_owned())),
        "format" => {
            let format = format(unquote(value)).map_err(|error| error.to_string())?;
            return Ok(Setting::Format(Some(format)));
        }
        "think" => {
            let level = if value.is_empty() { "true" } else { value };
            return Ok(Setting::Think(Some(think(level))));
        }
        "history" => Setting::History(true),
        "nohistory" => Setting::History(false),
        "wordwrap" => Setting::Wordwrap(true),
        "nowordwrap" => Setting::Wordwrap(false),
        "noformat" => Setting::Format(None),
        "verbose" => Setting::Verbose(true),
        "quiet" => Setting::Verbose(false),
        "nothink" => Setting::Think(Some(false.into())),
        _ => return Err(format!("`{name}` cannot be set; type `/? set`")),
    };
    if value.is_empty() { Ok(setting) } else { Err(format!("`/set {name}` takes no value")) }
}

fn parameter(text: &str) -> Result<Setting, String> {
    let (name, value) = split(text);
    let Some((_, kind)) = PARAMETERS.iter().find(|(known, _)| *known == name) else {
        let known = PARAMETERS.map(|(known, _)| known).join(", ");
        return Err(format!("no parameter `{name}`; there are {known}"));
    };
    let bad = |expected: &str| format!("`{value}` is not a value of {name}; expected {expected}");
    let value = match kind {
        Kind::Whole => value.parse::<i64>().map_err(|_| bad("a whole number"))?.into(),
        Kind::Number => {
            let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| bad("a number"))?.into()
        }
        Kind::Texts if value.is_empty() => return Err(bad("one text or several")),
        Kind::Texts => value.split_whitespace().map(Value::from).collect(),
    };
    Ok(Setting::Parameter(name.to_owned(), value))
}

/// The first word and the rest.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    (word, rest.trim())
}

/// Without the three quotation marks around a text of several lines.
pub(super) fn unquote(text: &str) -> &str {
    let inner = text.trim().strip_prefix("\"\"\"");
    inner.map_or(text, |inner| inner.strip_suffix("\"\"\"").unwrap_or(inner).trim_matches('\n'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, expected: Slash) {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }

    #[test]
    fn understands_ollamas_commands() {
        check("/bye", Slash::Bye);
        check("/exit", Slash::Bye);
        check("/clear", Slash::Clear);
        check("/load  x:1 ", Slash::Load("x:1".to_owned()));
        check("/save x", Slash::Save("x".to_owned()));
        check("/show info", Slash::Show(Part::Info));
        check("/show template", Slash::Show(Part::Untold("template")));
        for (text, setting) in [
            ("/set system be brief", Setting::System("be brief".to_owned())),
            ("/set system \"\"\"\na\nb\n\"\"\"", Setting::System("a\nb".to_owned())),
            ("/set format json", Setting::Format(Some(json!("json")))),
            ("/set noformat", Setting::Format(None)),
            ("/set think", Setting::Think(Some(json!(true)))),
            ("/set think low", Setting::Think(Some(json!("low")))),
            ("/set nothink", Setting::Think(Some(json!(false)))),
            ("/set nohistory", Setting::History(false)),
            ("/set nowordwrap", Setting::Wordwrap(false)),
            ("/set verbose", Setting::Verbose(true)),
            ("/set quiet", Setting::Verbose(false)),
            ("/set parameter seed 7", Setting::Parameter("seed".to_owned(), json!(7))),
            ("/set parameter top_p 0.5", Setting::Parameter("top_p".to_owned(), json!(0.5))),
            ("/set parameter stop A B", Setting::Parameter("stop".to_owned(), json!(["A", "B"]))),
        ] {
            check(text, Slash::Set(setting));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("/prods", "unknown command `/prods`"),
            ("/load", "usage: /load NAME"),
            ("/set color", "`color` cannot be set"),
            ("/set verbose 3", "takes no value"),
            ("/set parameter warmth 1", "no parameter `warmth`"),
            ("/set parameter seed x", "expected a whole number"),
            ("/set parameter temperature NaN", "expected a number"),
            ("/set parameter stop", "one text or several"),
            ("/show price", "`price` cannot be shown"),
            ("/set format yaml", "is not a valid format"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }

    #[test]
    fn every_word_that_is_completed_is_understood() {
        for word in WORDS {
            let understood = parse(word);
            assert!(!matches!(&understood, Err(said) if said.contains("unknown")), "{word}");
        }
        for name in SETTINGS {
            let understood = parse(&format!("/set {name}"));
            assert!(!matches!(&understood, Err(said) if said.contains("cannot")), "{name}");
        }
        for name in PARTS {
            assert!(parse(&format!("/show {name}")).is_ok(), "{name}");
        }
    }
}
