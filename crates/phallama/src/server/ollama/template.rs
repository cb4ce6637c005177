//! The `template` of `/api/generate`: as much of Go's templates as such templates use.
//!
//! Text, `{{ .System }}`, `{{ .Prompt }}`, `{{ .Suffix }}`, `{{ .Response }}`, `if` over these
//! (with `and`, `or`, `not`), `else`, `end`, comments, and `-`, which trims white space. What comes
//! after the response is the model's to say, so nothing after it is written.

/// What a template can name.
pub(crate) struct Values<'a> {
    pub(crate) system: &'a str,
    pub(crate) prompt: &'a str,
    pub(crate) suffix: &'a str,
}

/// Deepest nesting of `if`.
const DEPTH_MAX: usize = 16;

enum Token<'a> {
    Text(&'a str),
    Action(&'a str),
}

/// The prompt that a template makes, or what about it is not understood.
pub(crate) fn render(template: &str, values: &Values<'_>) -> Result<String, String> {
    let tokens = tokens(template)?;
    let mut rendering =
        Rendering { tokens: &tokens, at: 0, values, out: String::new(), over: false };
    rendering.block(true, 0)?;
    match rendering.tokens.get(rendering.at) {
        None => Ok(rendering.out),
        Some(_) => Err("an `end` or `else` without `if`".to_owned()),
    }
}

fn tokens(template: &str) -> Result<Vec<Token<'_>>, String> {
    let (mut tokens, mut rest, mut trim) = (Vec::new(), template, false);
    while let Some((text, after)) = rest.split_once("{{") {
        let (action, next) = after.split_once("}}").ok_or("an action without its `}}`")?;
        let text = if trim { text.trim_start() } else { text };
        let (text, action) = match action.strip_prefix('-') {
            Some(action) => (text.trim_end(), action),
            None => (text, action),
        };
        let (action, trims) = match action.strip_suffix('-') {
            Some(action) => (action, true),
            None => (action, false),
        };
        tokens.extend([Token::Text(text), Token::Action(action.trim())]);
        (rest, trim) = (next, trims);
    }
    tokens.push(Token::Text(if trim { rest.trim_start() } else { rest }));
    Ok(tokens)
}

struct Rendering<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    values: &'a Values<'a>,
    out: String,
    /// The response was reached.
    over: bool,
}

impl<'a> Values<'a> {
    fn named(&self, name: &str) -> Result<&'a str, String> {
        match name {
            ".System" => Ok(self.system),
            ".Prompt" => Ok(self.prompt),
            ".Suffix" => Ok(self.suffix),
            // It is what is asked for.
            ".Response" => Ok(""),
            other => Err(format!("`{other}`")),
        }
    }

    fn holds(&self, condition: &str) -> Result<bool, String> {
        let words: Vec<&str> = condition.split_whitespace().collect();
        let held = |names: &[&str]| -> Result<Vec<bool>, String> {
            names.iter().map(|name| Ok(!self.named(name)?.is_empty())).collect()
        };
        match words.as_slice() {
            ["and", names @ ..] => Ok(held(names)?.into_iter().all(|held| held)),
            ["or", names @ ..] => Ok(held(names)?.into_iter().any(|held| held)),
            ["not", name] => Ok(self.named(name)?.is_empty()),
            [name] => Ok(!self.named(name)?.is_empty()),
            _ => Err(format!("`if {condition}`")),
        }
    }
}

impl Rendering<'_> {
    /// Up to the `end` or `else` of the block, which stays; written only if `taken`.
    fn block(&mut self, taken: bool, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("`if` deeper than {DEPTH_MAX} levels"));
        }
        while let Some(token) = self.tokens.get(self.at) {
            match *token {
                Token::Text(text) => self.write(taken, text),
                Token::Action(action) if action == "end" || action.starts_with("else") => {
                    return Ok(());
                }
                Token::Action(action) if action.starts_with("/*") => {}
                Token::Action(action) => match action.strip_prefix("if ") {
                    Some(condition) => {
                        self.branches(condition, taken, depth)?;
                        continue;
                    }
                    None if action == ".Response" => self.over |= taken,
                    None => self.write(taken, self.values.named(action)?),
                },
            }
            self.at += 1;
        }
        Ok(())
    }

    /// An `if` with all that belongs to it, its `end` included.
    fn branches(&mut self, condition: &str, taken: bool, depth: usize) -> Result<(), String> {
        let mut holds = self.values.holds(condition)?;
        let mut one_held = holds;
        loop {
            self.at += 1;
            self.block(taken && holds, depth + 1)?;
            match self.tokens.get(self.at) {
                Some(Token::Action("end")) => {
                    self.at += 1;
                    return Ok(());
                }
                Some(Token::Action(action)) => {
                    let condition = action.strip_prefix("else if ");
                    holds =
                        !one_held && condition.map_or(Ok(true), |one| self.values.holds(one))?;
                    one_held |= holds;
                }
                _ => return Err("an `if` without its `end`".to_owned()),
            }
        }
    }

    fn write(&mut self, taken: bool, text: &str) {
        if taken && !self.over {
            self.out.push_str(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str, system: &str) -> Result<String, String> {
        render(template, &Values { system, prompt: "hi", suffix: "" })
    }

    #[test]
    fn the_templates_of_models_are_understood() {
        let chatml = "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}\
                      {{ if .Prompt }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n{{ end }}\
                      <|im_start|>assistant\n{{ .Response }}<|im_end|>\n";
        assert_eq!(
            rendered(chatml, "be brief").unwrap(),
            "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n\
             <|im_start|>assistant\n"
        );
        assert_eq!(
            rendered(chatml, "").unwrap(),
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        );
        let instruct = "[INST] {{ if and .System .Prompt -}}\n {{ .System }}\n{{- else if .Suffix }}x\
                        {{ else }}{{/* none */}}-{{ end }} {{ .Prompt }} [/INST]";
        assert_eq!(rendered(instruct, "s").unwrap(), "[INST] s hi [/INST]");
        assert_eq!(rendered(instruct, "").unwrap(), "[INST] - hi [/INST]");
        let nested = "{{ if .Prompt }}a{{ if .System }}b{{ else }}c{{ end }}d{{ end }}";
        assert_eq!(rendered(nested, "").unwrap(), "acd");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (template, problem) in [
            ("{{ range .Messages }}{{ end }}", "`range .Messages`"),
            ("{{ .Tools }}", "`.Tools`"),
            ("{{ if eq .System \"a\" }}{{ end }}", "`if eq .System \"a\"`"),
            ("{{ if .System }}", "an `if` without its `end`"),
            ("{{ end }}", "an `end` or `else` without `if`"),
            ("{{ .System", "an action without its `}}`"),
        ] {
            assert_eq!(rendered(template, "s").unwrap_err(), problem, "{template}");
        }
        let deep = "{{ if .Prompt }}".repeat(40) + &"{{ end }}".repeat(40);
        assert!(rendered(&deep, "").is_err());
    }
}
