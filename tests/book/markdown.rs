//! As much of Markdown as the checks need: blocks of code, headings with their anchors, links and spans of code.

/// A fenced block of code.
pub(crate) struct Block<'a> {
    /// What stands behind the fence, apart at commas: the language, then remarks.
    pub(crate) info: Vec<&'a str>,
    pub(crate) text: String,
    /// The number of its first line.
    pub(crate) line: usize,
}

impl Block<'_> {
    pub(crate) fn language(&self) -> &str {
        self.info.first().copied().unwrap_or_default()
    }
}

/// The fenced blocks of `text`. A block in a list loses the indentation of its fence.
pub(crate) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().zip(1..);
    while let Some((fence, line)) = lines.next() {
        let Some(info) = fence.trim_start().strip_prefix("```") else { continue };
        let indentation = fence.len() - fence.trim_start().len();
        let within = lines.by_ref().map(|(line, _)| line).take_while(|line| line.trim() != "```");
        let text = within.map(|line| format!("{}\n", line.get(indentation..).unwrap_or_default())).collect();
        blocks.push(Block { info: info.split(',').map(str::trim).collect(), text, line: line + 1 });
    }
    blocks
}

/// The lines of `text` outside of fenced blocks.
pub(crate) fn prose(text: &str) -> String {
    let mut fenced = false;
    let outside = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    });
    outside.map(|line| format!("{line}\n")).collect()
}

/// The anchors of the headings, as GitHub and mdBook make them, and those that are written as such.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let headings = headings.filter_map(|line| line.trim_start_matches('#').strip_prefix(' ')).map(anchor);
    let written = prose.split("<a id=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
    headings.chain(written).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Where the links and images of `text` lead to.
pub(crate) fn targets(text: &str) -> Vec<String> {
    let prose = without_code(&prose(text));
    prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// The spans of code in the prose of `text`, each on one line.
pub(crate) fn spans(text: &str) -> Vec<String> {
    let prose = prose(text);
    // A span may go over the end of a line, and not over the end of a paragraph.
    let paragraphs = prose.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    paragraphs.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn without_code(prose: &str) -> String {
    prose.split("\n\n").flat_map(|paragraph| paragraph.split('`').step_by(2).chain(["\n"])).collect()
}

#[test]
fn markdown_is_taken_apart() {
    let text = "# A `b_c`, d\n\n<a id=\"e.f\"></a>[x](y.md#z) `[no](code)` `readcast\n  run`\n\n1. i\n\n   ```sh,no-run\n   a\n   ```\n";
    assert_eq!(anchors(text), ["a-b_c-d", "e.f"]);
    assert_eq!(targets(text), ["y.md#z"]);
    assert_eq!(spans(text), ["b_c", "[no](code)", "readcast run"]);
    let blocks = blocks(text);
    assert_eq!((blocks[0].info.as_slice(), blocks[0].text.as_str()), (["sh", "no-run"].as_slice(), "a\n"));
}
