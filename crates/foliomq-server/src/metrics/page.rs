//! The text format that Prometheus scrapes, version 0.0.4.

use std::fmt::{Display, Write as _};

/// `Content-Type` of a page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of number a family has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// It only grows, from 0 at the start of the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by upper bound, a sum and a count.
    Histogram,
}

/// Families of metrics, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

/// The samples of one family.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    name: &'static str,
    out: &'a mut String,
}

impl Page {
    /// Begins a family; its help is one line.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let out = &mut self.0;
        push(
            out,
            format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
        );
        Family { name, out }
    }

    /// A counter without labels.
    pub(crate) fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help)
            .sample("", &[], value);
    }

    /// A gauge without labels.
    pub(crate) fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help).sample("", &[], value);
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// One number, with these labels; the suffix is that of a histogram's parts.
    pub(crate) fn sample(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) -> &mut Self {
        push(self.out, format_args!("{}{suffix}", self.name));
        for (n, (name, value)) in labels.iter().enumerate() {
            let begin = if n == 0 { '{' } else { ',' };
            push(
                self.out,
                format_args!("{begin}{name}=\"{}\"", escaped(value)),
            );
        }
        let end = if labels.is_empty() { "" } else { "}" };
        push(self.out, format_args!("{end} {value}\n"));
        self
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes whatever is written to it.
    let _ = out.write_fmt(text);
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_prometheus_wants_it() {
        let mut page = Page::default();
        page.gauge("a_bytes", "How many.", 7);
        page.family("b_total", Kind::Counter, "Which.")
            .sample("", &[("one", "x"), ("two", "a\"b\\c\nd")], 1.5)
            .sample("", &[], 2);
        let expected = concat!(
            "# HELP a_bytes How many.\n# TYPE a_bytes gauge\na_bytes 7\n",
            "# HELP b_total Which.\n# TYPE b_total counter\n",
            "b_total{one=\"x\",two=\"a\\\"b\\\\c\\nd\"} 1.5\nb_total 2\n",
        );
        assert_eq!(page.into_text(), expected);
    }
}
