//! Diagnostics: what is wrong with a spec, where, and what to do about it.
//!
//! A [`Diagnostic`] has a stable [`Code`] (`docs/errors.md` has an entry for each), one primary label
//! and perhaps others, and help. Building one does no formatting of source text: `render` does.

/// Which file of a [`SourceMap`] a span lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// A range of bytes of one source.
///
/// Spans say where a thing was written, not what it says: all spans are equal, so that syntax trees
/// compare by meaning.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The file.
    pub source: SourceId,
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl PartialEq for Span {
    fn eq(&self, _: &Span) -> bool {
        true
    }
}

impl Span {
    /// The least span that covers both; they lie in one source.
    pub fn to(self, other: Span) -> Span {
        Span { source: self.source, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A file as read.
#[derive(Debug, Clone)]
pub struct Source {
    /// What diagnostics call it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// All files that a spec consists of: itself, the prelude, and what they import.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
}

impl SourceMap {
    /// Adds a file.
    pub fn add(&mut self, source: Source) -> SourceId {
        self.sources.push(source);
        SourceId(u32::try_from(self.sources.len() - 1).unwrap_or(u32::MAX))
    }

    /// The file of that id.
    pub fn get(&self, id: SourceId) -> &Source {
        &self.sources[id.0 as usize]
    }

    /// The text under a span.
    pub fn text(&self, span: Span) -> &str {
        &self.get(span.source).text[span.start as usize..span.end as usize]
    }

    /// All files, in the order added.
    pub fn iter(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        (0u32..).map(SourceId).zip(&self.sources)
    }
}

/// A refused spec: what is wrong with it and the text it says so about.
#[derive(Debug, Clone, Default)]
pub struct Failure {
    /// The files that the labels point into.
    pub sources: SourceMap,
    /// What was found; at least one error.
    pub diagnostics: Vec<Diagnostic>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something to look at; the spec is accepted.
    Warning,
    /// The spec is refused.
    Error,
}

/// A piece of source with a remark.
#[derive(Debug, Clone)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// The remark.
    pub text: String,
}

/// One finding about a spec.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable code.
    pub code: Code,
    /// What is wrong: lower case, no full stop, the user's words in backticks.
    pub message: String,
    /// The first is primary.
    pub labels: Vec<Label>,
    /// What to do, each a sentence.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: Code, message: impl Into<String>) -> Diagnostic {
        let (labels, help) = (Vec::new(), Vec::new());
        Diagnostic { severity: Severity::Error, code, message: message.into(), labels, help }
    }

    /// A warning.
    pub fn warning(code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// Adds a labelled place; the first is primary.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds what to do, if there is something to say.
    pub fn help(mut self, text: impl Into<Option<String>>) -> Diagnostic {
        self.help.extend(text.into());
        self
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal: $title:literal,)*) => {
        /// The stable codes of diagnostics: A00 text, A01 names, A02 ranks, A03 kinds, A04 equations,
        /// A05 functions, A06 extents and parameters, A07 lints, A08 what a target cannot do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $title] $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The code as users see it, such as `A0101`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            /// What it is about, in a line.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    Syntax = "A0001": "the text does not follow the grammar",
    NotUtf8 = "A0002": "the file is not UTF-8 text",
    TooDeep = "A0003": "nesting beyond the limit",
    IntTooLarge = "A0004": "an integer literal beyond 2^63 - 1",
    NoKernel = "A0005": "a file without a kernel",
    ImportFailed = "A0006": "an import that cannot be read",
    TooLarge = "A0007": "a file beyond the size limit",
    UnknownName = "A0100": "a name that is declared nowhere",
    UnknownRank = "A0101": "a rank that is declared nowhere",
    UnknownFunction = "A0102": "a function that is declared nowhere",
    UnknownDType = "A0103": "a dtype that does not exist",
    Duplicate = "A0104": "a name that is declared twice",
    KindOfName = "A0105": "a name used for what it is not",
    RankCycle = "A0200": "a rank that is defined by itself",
    RankTwice = "A0201": "a rank listed twice",
    RankOverlap = "A0202": "a tensor with ranks that overlap",
    CoordinateCount = "A0203": "a wrong number of coordinates",
    NotARankOf = "A0204": "a tensor re-indexed by a rank it lacks",
    OneRank = "A0205": "several ranks where one is wanted",
    WrongKind = "A0300": "an operand of the wrong kind",
    MixedKinds = "A0301": "a bool that meets a number",
    DTypeMisfit = "A0302": "a value that its dtype cannot hold",
    FreeRank = "A0400": "a rank on the right that is neither on the left nor reduced",
    LeftCoordinate = "A0401": "a coordinate on the left that is none",
    DefinedTwice = "A0402": "two equations for the same points",
    MissingBase = "A0403": "a recurrence without its first coordinates",
    BaseMisfit = "A0404": "equations of one tensor that do not fit",
    Cycle = "A0405": "a cyclic definition",
    LaterRead = "A0406": "a recurrence that reads what is not yet defined",
    DataIndexRead = "A0407": "a recurrence that reads itself at a data index",
    BaseCycle = "A0408": "a first coordinate that depends on itself",
    WholeRecurrence = "A0409": "a recurrence read without coordinates",
    SelectedRank = "A0410": "the rank of a selection's result in what it selects from",
    BuiltinShadowed = "A0500": "a function named like a built-in one",
    RankCount = "A0501": "a call with a wrong number of ranks",
    ValueCount = "A0502": "a call with a wrong number of values",
    Recursion = "A0503": "a function that calls itself",
    TooManyCalls = "A0504": "too many inlined calls",
    NotConstant = "A0600": "a constant expression that is none",
    NegativeExtent = "A0601": "a negative extent",
    ExtentTooLarge = "A0602": "an extent beyond 2^63 - 1",
    OverBound = "A0603": "an extent over its bound",
    ExtentConflict = "A0604": "extents that contradict each other",
    UnboundRank = "A0605": "a rank whose extent nothing binds",
    UnfixedParam = "A0606": "a parameter that must be fixed but is not",
    BadSetting = "A0607": "a setting that fits no rank or parameter",
    NoValue = "A0608": "a constant expression without a value",
    AbsentUnderSum = "A0700": "an absent term that a sum skips",
}
