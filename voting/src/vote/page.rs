//! The page of `vote`.

use minijinja::{Environment, context};

use super::lanes::Refusal;
use crate::args::OptionArgs;
use crate::web::Identity;

/// What the page tells about the vote that was just sent.
pub enum Notice<'a> {
    None,
    Accepted,
    Refused(&'a Refusal),
}

/// The template with everything that never changes.
pub struct Page {
    templates: Environment<'static>,
    options: OptionArgs,
    who: Identity,
}

impl Page {
    /// # Errors
    /// When the built-in template cannot be read.
    pub fn new(options: &OptionArgs, who: &Identity) -> anyhow::Result<Self> {
        let mut templates = Environment::new();
        templates.add_template("vote.html", include_str!("page.html"))?;
        Ok(Self {
            templates,
            options: options.clone(),
            who: who.clone(),
        })
    }

    /// The page for a voter whose last accepted vote is `choice` (`a`, `b`, or
    /// nothing).
    pub fn render(&self, choice: &str, notice: Notice<'_>) -> String {
        let (kind, title, hint) = match notice {
            Notice::None => ("", String::new(), ""),
            Notice::Accepted => (
                "accepted",
                "Your vote is in.".to_owned(),
                "You can change it at any time.",
            ),
            Notice::Refused(refusal) => ("refused", headline(refusal), refusal.hint()),
        };
        let values = context! {
            option_a => &self.options.option_a, option_b => &self.options.option_b,
            choice, kind, title, hint, site => &self.who.site, host => &self.who.host,
        };
        let page = self
            .templates
            .get_template("vote.html")
            .and_then(|page| page.render(values));
        page.unwrap_or_else(|error| {
            tracing::error!(%error, "the page cannot be rendered");
            "<!doctype html><title>Vote</title>".to_owned()
        })
    }
}

/// What a voter reads; the technical reason stays in logs and JSON answers.
fn headline(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Invalid => "That was not a vote.".to_owned(),
        Refusal::Overloaded => "Too many votes at once.".to_owned(),
        Refusal::Unreachable { .. } => "Your vote was not recorded.".to_owned(),
        Refusal::Unconfirmed { .. } => "Your vote was not confirmed.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let options = OptionArgs {
            option_a: "<Cats>".into(),
            option_b: "Dogs".into(),
        };
        let who = Identity {
            site: "site1".into(),
            host: "app-1".into(),
        };
        Page::new(&options, &who).unwrap()
    }

    fn body(html: &str) -> &str {
        html.split_once("<body>").unwrap().1
    }

    #[test]
    fn labels_are_escaped_and_the_choice_is_marked() {
        let html = page().render("b", Notice::None);
        assert!(html.contains("&lt;Cats&gt;") && !html.contains("<Cats>"));
        let (before, pressed) = body(&html).split_once("aria-pressed=\"true\"").unwrap();
        assert!(before.contains("&lt;Cats&gt;") && pressed.contains("Dogs"));
        assert!(!pressed.contains("aria-pressed=\"true\""));
        assert!(pressed.contains("site1") && pressed.contains("app-1"));
    }

    #[test]
    fn an_unconfirmed_vote_says_what_that_means() {
        let refusal = Refusal::Unconfirmed {
            reason: "no replica has it".into(),
        };
        let html = page().render("", Notice::Refused(&refusal));
        assert!(html.contains("not confirmed") && html.contains("may still arrive"));
        assert!(!body(&html).contains("aria-pressed=\"true\""));
    }
}
