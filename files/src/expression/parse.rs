//! The one place that knows the crate `cel`: it parses the text of an expression, and expands CEL's macros.

use std::ops::Range;

use cel::ParseErrors;
use cel::common::ast::SourceInfo;
use cel::parser::Parser;

pub(super) use cel::IdedExpr as Parsed;
pub(super) use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};

use super::{Expression, ExpressionError};

/// The parts of a parsed expression with their places in its text.
pub(super) struct Source<'t> {
    text: &'t str,
    places: SourceInfo,
}

/// Parses the text of an expression.
pub(super) fn parse(text: &str) -> Result<(Parsed, Source<'_>), Vec<ExpressionError>> {
    if text.len() > Expression::MAX_BYTES {
        let message = format!("the expression has {} bytes; at most {} are allowed", text.len(), Expression::MAX_BYTES);
        return Err(vec![ExpressionError::new(0..text.len(), message)]);
    }
    if text.trim().is_empty() {
        return Err(vec![
            ExpressionError::new(0..text.len(), "the expression is empty").help("write null for no value"),
        ]);
    }
    match Parser::new().enable_optional_syntax(true).parse_with_source_info(text) {
        Ok((parsed, _)) if depth(&parsed) > MAX_DEPTH => {
            let message = format!("the expression is nested more than {MAX_DEPTH} levels deep");
            Err(vec![ExpressionError::new(0..text.len(), message).help("write `sum([…])` for a long sum")])
        }
        Ok((parsed, places)) => Ok((parsed, Source { text, places })),
        Err(errors) => Err(of_parser(text, &errors)),
    }
}

/// The most operators and calls within each other. `a + b + c` is two levels deep. What follows takes stack for each.
const MAX_DEPTH: usize = 100;

/// How deeply the parts of an expression are nested, without recursion.
fn depth(parsed: &Parsed) -> usize {
    let (mut deepest, mut open) = (0, vec![(parsed, 1)]);
    while let Some((part, depth)) = open.pop() {
        deepest = deepest.max(depth);
        let mut inner = |part| open.push((part, depth + 1));
        match &part.expr {
            Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).for_each(&mut inner),
            Expr::Select(select) => inner(&select.operand),
            Expr::List(list) => list.elements.iter().for_each(&mut inner),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        inner(&entry.key);
                        inner(&entry.value);
                    }
                }
            }
            Expr::Comprehension(parts) => {
                let parts = [&parts.iter_range, &parts.accu_init, &parts.loop_cond, &parts.loop_step, &parts.result];
                parts.into_iter().for_each(inner);
            }
            Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }
    deepest
}

impl<'t> Source<'t> {
    /// The place of a part in the text, in bytes. The parser knows the place of one token of it, such as the parenthesis of a
    /// call.
    pub(super) fn span(&self, part: &Parsed) -> Range<usize> {
        self.extent(part).filter(|span| self.text.get(span.clone()).is_some()).unwrap_or(0..self.text.len())
    }

    fn extent(&self, part: &Parsed) -> Option<Range<usize>> {
        let (start, last) = self.places.offset_for(part.id)?;
        let token = start as usize..last as usize + 1;
        let closed = |span: Range<usize>, by: char| {
            let rest = self.text.get(span.end..).unwrap_or_default();
            span.start..rest.find(by).map_or(span.end, |place| span.end + place + by.len_utf8())
        };
        Some(match &part.expr {
            Expr::Call(call) => {
                let parts = call.target.as_deref().into_iter().chain(&call.args);
                let all = parts.filter_map(|part| self.extent(part)).fold(token.clone(), join);
                if operators::find_operator(&call.func_name).is_some()
                    || call.func_name.contains('_') && self.is_sign(&token)
                {
                    if &*call.func_name == operators::INDEX { closed(all, ']') } else { all }
                } else {
                    let before = self.text.get(..token.start).unwrap_or_default();
                    let named =
                        before.len() - before.strip_suffix(&*call.func_name).map_or(0, |_| call.func_name.len());
                    closed(join(all, named..token.end), ')')
                }
            }
            Expr::Select(select) => {
                let of = self.extent(&select.operand).map_or(token.clone(), |of| join(of, token));
                let name = self.text.get(of.end..).unwrap_or_default();
                let blank = name.len() - name.trim_start().len();
                let is_named = name.trim_start().starts_with(&*select.field);
                of.start..if is_named { of.end + blank + select.field.len() } else { of.end }
            }
            Expr::List(list) => {
                closed(list.elements.iter().filter_map(|item| self.extent(item)).fold(token, join), ']')
            }
            _ => token,
        })
    }

    /// Whether a token is the sign of an operator.
    fn is_sign(&self, token: &Range<usize>) -> bool {
        self.text.get(token.clone()).is_some_and(|token| token != "(")
    }

    /// The text of a part.
    pub(super) fn text(&self, part: &Parsed) -> &'t str {
        self.text.get(self.span(part)).unwrap_or_default()
    }
}

fn join(a: Range<usize>, b: Range<usize>) -> Range<usize> {
    a.start.min(b.start)..a.end.max(b.end)
}

/// The parser's first error: those behind it are often its consequences.
fn of_parser(text: &str, errors: &ParseErrors) -> Vec<ExpressionError> {
    let Some(error) = errors.errors.first() else {
        return vec![ExpressionError::new(0..text.len(), "not an expression")];
    };
    let column = usize::try_from(error.pos.1 - 1).unwrap_or_default();
    let line = usize::try_from(error.pos.0 - 1).unwrap_or_default();
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let start = before + rest.char_indices().nth(column).map_or(rest.len(), |(place, _)| place);
    let end = text.get(start..).and_then(|rest| rest.chars().next()).map_or(start, |next| start + next.len_utf8());
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    vec![match message.split_once(" expecting ") {
        Some((found, expected)) => {
            let found = found.replace("mismatched input", "unexpected").replace("extraneous input", "unexpected");
            ExpressionError::new(start..end, found.replace("'<EOF>'", "end"))
                .help(format!("expected {}", plain(expected)))
        }
        None if message.contains("token recognition error") => {
            let help = "texts stand in quotes: 'text' or \"text\"";
            ExpressionError::new(start..end, "this is no part of an expression").help(help)
        }
        None => ExpressionError::new(start..end, message.trim()),
    }]
}

/// What the parser expected, in words where it lists every token that may begin a value.
fn plain(expected: &str) -> String {
    if expected.contains("IDENTIFIER") && expected.contains("NUM_INT") {
        return "a value: a path such as data.name, a number, a text in quotes, a function, or a list".into();
    }
    let words = expected.trim_matches(['{', '}']).replace("<EOF>", "the end").replace("IDENTIFIER", "a name");
    words.replace("', '", "' or '")
}
