//! Rows instead of moments.
//!
//! Operations last milliseconds and tests minutes, so a true scale shows dots. What matters is which
//! operations were over before which began. So beginnings without an end between them share a row,
//! and so do the ends that follow: two operations share a row if and only if they overlapped.

/// What was laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    /// The first and the last row of each interval.
    pub(super) of: Vec<(usize, usize)>,
    /// The first and the last moment of each row.
    pub(super) times: Vec<(u64, u64)>,
}

/// Of intervals from one moment to another.
pub(super) fn rows(intervals: &[(u64, u64)]) -> Rows {
    let mut moments: Vec<(u64, bool, usize)> = Vec::with_capacity(intervals.len() * 2);
    for (position, (from, to)) in intervals.iter().enumerate() {
        moments.push((*from, false, position));
        moments.push(((*to).max(*from), true, position));
    }
    moments.sort_unstable();
    let mut rows = Rows { of: vec![(0, 0); intervals.len()], times: Vec::new() };
    let mut after_end = true;
    for (at, is_end, position) in moments {
        if after_end && !is_end {
            rows.times.push((at, at));
        }
        let row = rows.times.len() - 1;
        rows.times[row].1 = at;
        if is_end {
            rows.of[position].1 = row;
        } else {
            rows.of[position].0 = row;
        }
        after_end = is_end;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_share_a_row_where_they_overlapped() {
        type Case<'a> = (&'a [(u64, u64)], &'a [(usize, usize)]);
        let cases: [Case<'_>; 6] = [
            (&[], &[]),
            (&[(1, 2)], &[(0, 0)]),
            (&[(1, 2), (3, 4)], &[(0, 0), (1, 1)]),
            (&[(1, 5), (2, 3), (4, 6)], &[(0, 1), (0, 0), (1, 1)]),
            (&[(1, 3), (3, 4)], &[(0, 0), (0, 0)]),
            (&[(7, 7), (1, 9), (2, 3), (8, 8)], &[(1, 1), (0, 2), (0, 0), (2, 2)]),
        ];
        for (intervals, expected) in cases {
            let rows = rows(intervals);
            assert_eq!(rows.of, expected, "{intervals:?}");
            for (a, (a_from, a_to)) in intervals.iter().enumerate() {
                for (b, (b_from, b_to)) in intervals.iter().enumerate() {
                    let overlap = a_from <= b_to && b_from <= a_to;
                    let share = rows.of[a].0 <= rows.of[b].1 && rows.of[b].0 <= rows.of[a].1;
                    assert_eq!(overlap, share, "{intervals:?}: {a} and {b}");
                }
            }
        }
        assert_eq!(rows(&[(1, 3), (5, 8)]).times, [(1, 3), (5, 8)]);
    }
}
