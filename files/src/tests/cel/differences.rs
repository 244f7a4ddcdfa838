//! Where expressions are not those of CEL, and why. `tests/README.md` has the same rows.

/// What CEL has and is refused here when a file is loaded, or has no value.
#[derive(Clone, Copy)]
pub(super) struct Unsupported {
    pub(super) what: &'static str,
    pub(super) why: &'static str,
    /// Parts of the messages that refuse it.
    pub(super) messages: &'static [&'static str],
    /// The number of cases that need it.
    pub(super) cases: usize,
}

/// What has another value than in CEL, or is an error in one of both alone.
pub(super) struct Difference {
    pub(super) what: &'static str,
    pub(super) why: &'static str,
    pub(super) cases: &'static [&'static str],
}

/// The first that a message is about counts.
pub(super) const UNSUPPORTED: [Unsupported; 9] = [
    Unsupported {
        what: "messages of Protobuf, their types and enumerations",
        why: "an event in Protobuf is read as a map, and nothing makes a message",
        messages: &[
            "messages of Protobuf",
            "a message of Protobuf",
            "an enumeration",
            "`TestAllTypes`",
            "`GlobalEnum`",
            "`msg`",
            "`google`",
        ],
        cases: 645,
    },
    Unsupported {
        what: "types as values: `type(x) == int`",
        why: "`type` is the type of the event; `type_of(x)` is the name of the type of a value",
        messages: &[
            "function `type`",
            "a type",
            "`bool` is not known",
            "`bytes` is not known",
            "`double` is not known",
            "`int` is not known",
            "`list` is not known",
            "`map` is not known",
            "`null_type` is not known",
            "`string` is not known",
            "`uint` is not known",
        ],
        cases: 44,
    },
    Unsupported {
        what: "`format`, `strings.quote`, and the libraries `math`, `base64` and `cel`",
        why: "extensions that not every implementation has; `round`, `abs`, `least`, `greatest` and `format_time` are here",
        messages: &["`format`", "`strings`", "`math`", "`base64`", "`cel`", "argument must be a simple name"],
        cases: 331,
    },
    Unsupported {
        what: "optional values: `optional.of(x)`, `[?x]`, `hasValue`, `value`, `or`, `optMap`, `optFlatMap`",
        why: "`data.?x` is null without the field, as columns are; `orValue` is here",
        messages: &["`optional`", "optional items", "`hasValue`", "function `value`", "function `or`", "`k`"],
        cases: 64,
    },
    Unsupported {
        what: "macros of two variables: `list.all(i, v, …)`, `transformList`",
        why: "the parser does not expand them",
        messages: &["`i` is not known"],
        cases: 32,
    },
    Unsupported {
        what: "maps with names that are no texts: `{1: 'a'}`",
        why: "names are texts, as in JSON",
        messages: &["the names of a map are texts"],
        cases: 60,
    },
    Unsupported {
        what: "names in backticks: ``data.`odd name` ``",
        why: "the parser does not know them; `data['odd name']` is the same",
        messages: &["unsupported syntax: '`'"],
        cases: 10,
    },
    Unsupported {
        what: "variables with points in their names: `a.b.c`",
        why: "a name is a part of the event or a variable",
        messages: &["a name with a point"],
        cases: 8,
    },
    Unsupported {
        what: "cases of the type checker alone",
        why: "there are no declared types to deduce others from",
        messages: &["no value"],
        cases: 25,
    },
];

pub(super) const DIFFERENCES: &[Difference] = &[
    Difference {
        what: "`9223372036854775807 < 9223372036854775808.0`",
        why: "a number with a fraction is an exact decimal, never a rounded float",
        cases: &[
            "comparisons/lt_literal/not_lt_dyn_int_big_lossy_double",
            "comparisons/lt_literal/not_lt_dyn_small_double_int",
            "comparisons/gt_literal/not_gt_dyn_int_small_lossy_double",
            "comparisons/gt_literal/not_gt_dyn_big_double_int",
            "comparisons/lte_literal/lte_dyn_int_small_lossy_double",
            "comparisons/lte_literal/lte_dyn_big_double_int",
            "comparisons/gte_literal/gte_dyn_int_big_lossy_double",
            "comparisons/gte_literal/gte_dyn_small_double_int",
            "conversions/int/double_int_max_range",
            "conversions/int/double_int_min_range",
        ],
    },
    Difference {
        what: "`1.0 / 0.0`, `0.0 / 0.0`",
        why: "decimals have no infinity and no NaN: it is an error",
        cases: &[
            "comparisons/eq_literal/not_eq_double_nan",
            "comparisons/eq_literal/not_eq_int_double_nan",
            "comparisons/eq_literal/not_eq_uint_double_nan",
            "comparisons/ne_literal/not_ne_double_nan",
            "comparisons/ne_literal/not_ne_int_double_nan",
            "comparisons/ne_literal/not_ne_uint_double_nan",
            "comparisons/ne_literal/ne_double_nan",
            "fp_math/fp_math/divide_zero",
        ],
    },
    Difference {
        what: "`int(1.9)`, `int(double(36028797018963968))`",
        why: "nothing is rounded unless `round` is written, and a float of more than 15 digits may be rounded already",
        cases: &[
            "conversions/int/double_round_neg",
            "conversions/int/double_truncate",
            "conversions/int/double_truncate_neg",
            "conversions/int/double_half_pos",
            "conversions/int/double_half_neg",
            "conversions/int/double_big_exact",
            "conversions/int/double_big_precision",
            "conversions/uint/double",
            "conversions/uint/double_truncate",
            "conversions/uint/double_half",
            "conversions/uint/double_big_exact",
            "conversions/uint/double_big_precision",
        ],
    },
    Difference {
        what: "`0u - 1u`, `-(1u)`",
        why: "`1u` is an integer as `1` is, and one beyond 64 bits is a decimal",
        cases: &[
            "integer_math/int64_math/unary_minus_no_overload",
            "integer_math/int64_math/uint64_overflow_positive",
            "integer_math/int64_math/uint64_overflow_negative",
            "integer_math/uint64_math/negative_no_overload",
        ],
    },
    Difference {
        what: "`false && 32`, `false && unknown`",
        why: "what is wrong in any event is refused when the file is loaded",
        cases: &[
            "basic/variables/unbound_is_runtime_error",
            "basic/functions/unbound_is_runtime_error",
            "logic/AND/short_circuit_type_left",
            "logic/AND/short_circuit_type_right",
            "logic/OR/short_circuit_type_left",
            "logic/OR/short_circuit_type_right",
        ],
    },
    Difference {
        what: "nanoseconds of times",
        why: "times have microseconds, as in Postgres; further digits are cut off",
        cases: &[
            "timestamps/timestamp_conversions/toString_timestamp_nanos",
            "timestamps/timestamp_arithmetic/add_time_to_duration_nanos_negative",
            "timestamps/timestamp_arithmetic/add_time_to_duration_nanos_positive",
            "timestamps/timestamp_range/add_duration_nanos_over",
            "timestamps/timestamp_range/add_duration_nanos_under",
        ],
    },
    Difference {
        what: "`string(time)` without the zeros of its fraction",
        why: "there are always six digits, so that the order of the texts is that of the times",
        cases: &["timestamps/timestamp_conversions/toString_timestamp"],
    },
    Difference {
        what: "times before year 1, and their differences beyond 290 years",
        why: "a time is in the years 0 to 9999, and the difference of any two of them is a duration",
        cases: &[
            "timestamps/timestamp_range/from_string_under",
            "timestamps/timestamp_range/add_duration_under",
            "timestamps/timestamp_range/sub_time_duration_over",
            "timestamps/timestamp_range/sub_time_duration_under",
        ],
    },
];

/// The cases of each file that pass, that need what is not supported, and that differ.
pub(super) const FILES: [(&str, [usize; 3]); 28] = [
    ("basic", [41, 0, 2]),
    ("bindings_ext", [0, 5, 0]),
    ("block_ext", [0, 37, 0]),
    ("comparisons", [309, 82, 15]),
    ("conversions", [66, 29, 14]),
    ("dynamic", [0, 226, 0]),
    ("encoders_ext", [0, 4, 0]),
    ("enums", [0, 85, 0]),
    ("fields", [17, 43, 0]),
    ("fp_math", [29, 0, 1]),
    ("integer_math", [60, 0, 4]),
    ("lists", [38, 1, 0]),
    ("logic", [26, 0, 4]),
    ("macros", [41, 3, 0]),
    ("macros2", [0, 46, 0]),
    ("math_ext", [0, 199, 0]),
    ("namespace", [0, 3, 0]),
    ("optionals", [4, 66, 0]),
    ("parse", [13, 11, 0]),
    ("plumbing", [5, 0, 0]),
    ("proto2", [0, 108, 0]),
    ("proto2_ext", [0, 18, 0]),
    ("proto3", [0, 75, 0]),
    ("string", [51, 0, 0]),
    ("string_ext", [95, 103, 0]),
    ("timestamps", [62, 4, 10]),
    ("type_deductions", [12, 35, 0]),
    ("wrappers", [0, 36, 0]),
];
