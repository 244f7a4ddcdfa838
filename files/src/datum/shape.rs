//! The parts of an event's data that expressions read, so that no other part is kept.

/// The parts of a value that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Whether all of it is read.
    pub(super) whole: bool,
    pub(super) fields: Vec<(String, Shape)>,
    /// What is read of each item of a list.
    pub(super) items: Option<Box<Shape>>,
}

/// A step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the field of this name.
    Field(String),
    /// To the items of a list.
    Items,
}

impl Shape {
    /// The shape of a value of which all is read.
    pub(crate) const WHOLE: &'static Self = &Self { whole: true, fields: Vec::new(), items: None };

    /// Adds what stands at `path`, and all that is in it.
    pub(crate) fn read(&mut self, path: &[Step]) {
        self.part(path).whole = true;
    }

    /// Adds what another shape reads.
    pub(crate) fn merge(&mut self, other: &Shape) {
        self.whole |= other.whole;
        for (name, shape) in &other.fields {
            self.part(&[Step::Field(name.clone())]).merge(shape);
        }
        if let Some(shape) = &other.items {
            self.part(&[Step::Items]).merge(shape);
        }
    }

    /// The part at `path`, added if it is not there.
    pub(crate) fn part(&mut self, path: &[Step]) -> &mut Shape {
        let Some((step, rest)) = path.split_first() else { return self };
        let next = match step {
            Step::Items => &mut **self.items.get_or_insert_default(),
            Step::Field(name) => {
                let place = self.fields.iter().position(|(other, _)| other == name).unwrap_or_else(|| {
                    self.fields.push((name.clone(), Shape::default()));
                    self.fields.len() - 1
                });
                &mut self.fields[place].1
            }
        };
        next.part(rest)
    }

    /// Whether all of what stands at `path` is in the shape.
    pub(crate) fn has_whole(&self, path: &[Step]) -> bool {
        let Some((step, rest)) = path.split_first() else { return self.whole };
        let next = match step {
            Step::Items => self.items.as_deref(),
            Step::Field(name) => self.fields.iter().find(|(other, _)| other == name).map(|(_, shape)| shape),
        };
        next.is_some_and(|next| next.has_whole(rest))
    }

    /// The places of fields that are read, each from the root.
    pub(crate) fn paths(&self) -> Vec<Vec<Step>> {
        let mut paths = Vec::new();
        let below = self.fields.iter().map(|(name, shape)| (Step::Field(name.clone()), shape));
        let items = self.items.as_deref().map(|shape| (Step::Items, shape));
        for (step, shape) in below.chain(items) {
            let inner = shape.paths();
            if inner.is_empty() {
                paths.push(vec![step]);
            } else {
                paths.extend(inner.into_iter().map(|path| [std::slice::from_ref(&step), path.as_slice()].concat()));
            }
        }
        paths
    }
}
