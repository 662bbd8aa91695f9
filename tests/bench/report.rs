//! What is printed: medians, ratios of neighbouring runs, goals.

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

/// The value below which this share of the values lies.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// The median ratio of neighbouring runs, and its least and greatest.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> (f64, f64, f64) {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = ratios.iter().copied().fold(0.0, f64::max);
    (median(&ratios), least, greatest)
}

/// A heading.
pub fn heading(text: &str) {
    println!("\n== {text}");
}

/// A figure that shall be at most its goal.
pub fn at_most(what: &str, value: f64, goal: f64, beside: &str) {
    let verdict = if value <= goal { "ok    " } else { "MISSED" };
    println!("{verdict}  {what:<58} {value:>9.2}  (goal {goal})  {beside}");
}

/// A figure that shall be at least its goal.
pub fn at_least(what: &str, value: f64, goal: f64, beside: &str) {
    let verdict = if value >= goal { "ok    " } else { "MISSED" };
    println!("{verdict}  {what:<58} {value:>9.2}  (goal {goal} at least)  {beside}");
}

/// A figure without a goal.
pub fn plain(what: &str, value: f64, beside: &str) {
    println!("        {what:<58} {value:>9.2}  {beside}");
}
