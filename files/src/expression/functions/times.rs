//! Functions of times. Without a time zone, times are in UTC.

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use readcast_core::Timestamp;

use super::{ANY, Function, INT, Parameter, TEXT, int, text, values};
use crate::datum::{self, Datum};
use crate::expression::Kind;

const UNITS: &[&str] = &["hour", "day", "week", "month", "year"];
const EPOCHS: &[&str] = &["seconds", "millis", "micros", "nanos"];
const TIME: Parameter = Parameter::Of(Kind::Time);
const ZONE: Parameter = Parameter::Zone;

/// A part of a time, and a number of a duration where it has one.
macro_rules! part {
    ($name:literal, $about:literal, $part:expr) => {
        Function::new($about, $name, &[TIME, ZONE], Kind::Int, |of| {
            let part: fn(DateTime<FixedOffset>) -> i64 = $part;
            Ok(Datum::Int(part(local(&of[0], of.get(1))?)))
        })
        .needing(1)
    };
    ($name:literal, $about:literal, $part:expr, $of_duration:expr) => {
        Function::new($about, $name, &[ANY, ZONE], Kind::Int, |of| {
            let (part, of_duration): (fn(DateTime<FixedOffset>) -> i64, fn(&TimeDelta) -> i64) = ($part, $of_duration);
            Ok(Datum::Int(match &of[0] {
                Datum::Duration(duration) => of_duration(duration),
                time => part(local(time, of.get(1))?),
            }))
        })
        .needing(1)
    };
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("`timestamp(x)`: the time of an RFC 3339 text", "timestamp", &[ANY], Kind::Time, |of| match &of[0] {
        Datum::Time(time) => Ok(Datum::Time(*time)),
        Datum::Int(seconds) => seconds.checked_mul(1_000_000).map_or_else(|| Err(OUT.into()), of_micros),
        other => datum::timestamp(text(other)?).map(Datum::Time),
    }),
    Function::new(
        "`epoch(x, unit)`: the time so many `seconds`, `millis`, `micros` or `nanos` after 1970-01-01T00:00:00Z",
        "epoch",
        &[INT, Parameter::Word(EPOCHS)],
        Kind::Time,
        epoch,
    ),
    Function::new(
        "`date(x, zone)`: the date of a text such as `2024-05-20`, or of a time in a time zone",
        "date",
        &[ANY, ZONE],
        Kind::Date,
        date,
    )
    .needing(1),
    Function::new(
        "`duration(x)`: the length of time of a text such as `1h30m`",
        "duration",
        &[ANY],
        Kind::Duration,
        |of| match &of[0] {
            Datum::Duration(duration) => Ok(Datum::Duration(*duration)),
            other => values::duration(text(other)?).map(Datum::Duration),
        },
    ),
    Function::new(
        "`truncate(time, unit, zone)`: the beginning of the `hour`, `day`, `week` (Monday), `month` or `year`",
        "truncate",
        &[TIME, Parameter::Word(UNITS), ZONE],
        Kind::Time,
        truncate,
    )
    .needing(2),
    Function::new(
        "`format_time(time, format, zone)`: the time as text, as in `strftime`: `%Y-%m`",
        "format_time",
        &[TIME, TEXT, ZONE],
        Kind::Text,
        format_time,
    )
    .needing(2),
    part!("getFullYear", "`getFullYear(time, zone)`: the year", |time| time.year().into()),
    part!("getMonth", "`getMonth(time, zone)`: the month, from 0", |time| time.month0().into()),
    part!("getDate", "`getDate(time, zone)`: the day of the month, from 1", |time| time.day().into()),
    part!("getDayOfMonth", "`getDayOfMonth(time, zone)`: the day of the month, from 0", |time| time.day0().into()),
    part!("getDayOfWeek", "`getDayOfWeek(time, zone)`: the day of the week, from 0 for Sunday", |time| {
        time.weekday().num_days_from_sunday().into()
    }),
    part!("getDayOfYear", "`getDayOfYear(time, zone)`: the day of the year, from 0", |time| time.ordinal0().into()),
    part!(
        "getHours",
        "`getHours(time, zone)`: the hour; of a duration, its whole hours",
        |time| time.hour().into(),
        TimeDelta::num_hours
    ),
    part!(
        "getMinutes",
        "`getMinutes(time, zone)`: the minute; of a duration, its whole minutes",
        |time| time.minute().into(),
        TimeDelta::num_minutes
    ),
    part!(
        "getSeconds",
        "`getSeconds(time, zone)`: the second; of a duration, its whole seconds",
        |time| time.second().into(),
        TimeDelta::num_seconds
    ),
    part!(
        "getMilliseconds",
        "`getMilliseconds(time, zone)`: the millisecond of the second, also of a duration",
        |time| i64::from(time.nanosecond() / 1_000_000),
        |duration| i64::from(duration.subsec_nanos() / 1_000_000)
    ),
];

const OUT: &str = "the time is outside of the years 0 to 9999";

type Computed<'e> = Result<Datum<'e>, String>;

fn of_micros<'e>(micros: i64) -> Computed<'e> {
    Timestamp::from_micros(micros).map(Datum::Time).ok_or_else(|| OUT.into())
}

/// A time zone of the IANA database, or a distance from UTC.
#[derive(Clone, Copy)]
pub(crate) enum Zone {
    Named(Tz),
    Fixed(FixedOffset),
}

/// The time zone that a text such as `Europe/Zurich` or `+01:00` says.
pub(crate) fn zone(name: &str) -> Result<Zone, String> {
    let fixed = match name.as_bytes().first() {
        Some(b'+' | b'-') => name.parse().ok(),
        Some(b'0'..=b'9') => format!("+{name}").parse().ok(),
        _ => None,
    };
    let zone = fixed.map(Zone::Fixed).or_else(|| name.parse().ok().map(Zone::Named));
    zone.ok_or_else(|| format!("{} is not a time zone such as Europe/Zurich or +01:00", datum::quoted(name)))
}

fn zone_or_utc(name: Option<&Datum<'_>>) -> Result<Zone, String> {
    name.map_or(Ok(Zone::Named(Tz::UTC)), |name| zone(text(name)?))
}

fn utc(time: &Datum<'_>) -> Result<DateTime<Utc>, String> {
    match time {
        Datum::Time(time) => Ok(time.as_datetime()),
        other => Err(format!("takes a timestamp, not {}", other.type_name())),
    }
}

fn local(time: &Datum<'_>, zone: Option<&Datum<'_>>) -> Result<DateTime<FixedOffset>, String> {
    let time = utc(time)?;
    Ok(match zone_or_utc(zone)? {
        Zone::Named(zone) => time.with_timezone(&zone).fixed_offset(),
        Zone::Fixed(zone) => time.with_timezone(&zone),
    })
}

fn epoch<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    let (number, unit) = (int(&of[0])?, text(&of[1])?);
    let micros = match unit {
        "seconds" => number.checked_mul(1_000_000),
        "millis" => number.checked_mul(1_000),
        "micros" => Some(number),
        "nanos" => Some(number.div_euclid(1_000)),
        other => return Err(format!("`{other}` is not one of {}", EPOCHS.join(", "))),
    };
    micros.map_or_else(|| Err(OUT.into()), of_micros)
}

fn date<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    Ok(Datum::Date(match &of[0] {
        Datum::Date(date) => *date,
        Datum::Text(text) => datum::date(text)?,
        time => local(time, of.get(1))?.date_naive(),
    }))
}

fn truncate<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    let time = local(&of[0], of.get(2))?;
    let day = time.date_naive();
    let first = match text(&of[1])? {
        // By the clock of the zone: an hour that a change of the clock repeats begins twice.
        "hour" => {
            let into = TimeDelta::minutes(time.minute().into()) + TimeDelta::seconds(time.second().into());
            let begin = time - into - TimeDelta::nanoseconds(time.nanosecond().into());
            return of_micros(begin.timestamp_micros());
        }
        "day" => Some(day),
        "week" => day.checked_sub_signed(TimeDelta::days(day.weekday().num_days_from_monday().into())),
        "month" => day.with_day(1),
        "year" => NaiveDate::from_ymd_opt(day.year(), 1, 1),
        other => return Err(format!("`{other}` is not one of {}", UNITS.join(", "))),
    };
    let zone = zone_or_utc(of.get(2))?;
    let begin = first.and_then(|first| match zone {
        Zone::Named(zone) => begin_of(first, &zone),
        Zone::Fixed(zone) => begin_of(first, &zone),
    });
    of_micros(begin.ok_or(OUT)?.timestamp_micros())
}

/// The first moment of a day, which is not midnight where a change of the clock leaves midnight out.
fn begin_of(day: NaiveDate, zone: &impl TimeZone) -> Option<DateTime<Utc>> {
    const MOST_MINUTES: i64 = 24 * 60;
    let midnight = day.and_time(NaiveTime::MIN);
    let mut moments = (0..MOST_MINUTES).filter_map(|minute| midnight.checked_add_signed(TimeDelta::minutes(minute)));
    moments.find_map(|moment| zone.from_local_datetime(&moment).earliest()).map(|begin| begin.with_timezone(&Utc))
}

fn format_time<'e>(of: &[Datum<'e>]) -> Computed<'e> {
    use std::fmt::Write as _;
    let mut shown = String::new();
    let (time, format) = (utc(&of[0])?, text(&of[1])?);
    // A faulty format is an error of the formatting, which would panic in `to_string`.
    let written = match zone_or_utc(of.get(2))? {
        Zone::Named(zone) => write!(shown, "{}", time.with_timezone(&zone).format(format)),
        Zone::Fixed(zone) => write!(shown, "{}", time.with_timezone(&zone).format(format)),
    };
    written.map_err(|_| format!("{} is not a format", datum::quoted(format)))?;
    Ok(Datum::Text(shown.into()))
}
