//! Writes the XML of a reply. A thin layer over quick-xml: elements are
//! written in order, absent values leave no element, and lists become EC2's
//! `<xSet><item>…</item></xSet>`.

use std::fmt::Display;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

/// The body of one element while it is written.
pub(crate) struct Xml {
    writer: Writer<Vec<u8>>,
}

impl Xml {
    /// A document with one root element in a namespace.
    pub(crate) fn document(
        root: &str,
        namespace: Option<&str>,
        fill: impl FnOnce(&mut Self),
    ) -> Vec<u8> {
        let mut xml = Self {
            writer: Writer::new(Vec::with_capacity(1024)),
        };
        xml.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        let mut start = BytesStart::new(root);
        if let Some(namespace) = namespace {
            start.push_attribute(("xmlns", namespace));
        }
        xml.event(Event::Start(start));
        fill(&mut xml);
        xml.event(Event::End(BytesEnd::new(root)));
        xml.writer.into_inner()
    }

    /// A document that is one leaf.
    pub(crate) fn leaf(root: &str, namespace: Option<&str>, value: &str) -> Vec<u8> {
        Self::document(root, namespace, |xml| {
            let value = printable(value);
            xml.event(Event::Text(BytesText::new(&value)));
        })
    }

    /// A leaf.
    pub(crate) fn text(&mut self, name: &str, value: impl Display) -> &mut Self {
        let value = printable(&value.to_string());
        self.event(Event::Start(BytesStart::new(name)));
        self.event(Event::Text(BytesText::new(&value)));
        self.event(Event::End(BytesEnd::new(name)));
        self
    }

    /// A leaf, where there is a value.
    pub(crate) fn maybe(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    /// An element with children.
    pub(crate) fn group(&mut self, name: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.event(Event::Start(BytesStart::new(name)));
        fill(self);
        self.event(Event::End(BytesEnd::new(name)));
        self
    }

    /// A list of structures.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.group(name, |xml| {
            for item in items {
                xml.group("item", |xml| fill(xml, item));
            }
        })
    }

    /// A list of leaves.
    pub(crate) fn leaves<T: Display>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        self.group(name, |xml| {
            for item in items {
                xml.text("item", item);
            }
        })
    }

    fn event(&mut self, event: Event<'_>) {
        // A Vec takes every write; there is no error to report.
        self.writer
            .write_event(event)
            .expect("writing to memory cannot fail");
    }
}

/// XML 1.0 has no way to write most control characters, not even escaped.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' | '\n' | '\r' => c,
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_lists_and_leaves() {
        let bytes = Xml::document("R", Some("urn:x"), |xml| {
            xml.text("a", "<&>")
                .maybe("b", None::<&str>)
                .leaves("set", [1, 2]);
        });
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"<?xml version="1.0" encoding="UTF-8"?><R xmlns="urn:x"><a>&lt;&amp;&gt;</a><set><item>1</item><item>2</item></set></R>"#
        );
    }

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let bytes = Xml::document("R", None, |xml| { xml.text("t", &text); });
            let document = String::from_utf8(bytes).unwrap();
            let mut reader = quick_xml::Reader::from_str(&document);
            let mut read = String::new();
            loop {
                match reader.read_event().unwrap() {
                    Event::Text(part) => read.push_str(&part.xml10_content()),
                    Event::GeneralRef(part) => {
                        let name = part.xml10_content();
                        match part.resolve_char_ref().unwrap() {
                            Some(c) => read.push(c),
                            None => read.push_str(quick_xml::escape::resolve_predefined_entity(&name).unwrap()),
                        }
                    }
                    Event::Eof => break,
                    _ => {}
                }
            }
            prop_assert_eq!(read, printable(&text));
        }
    }
}
