//! Accuracy, F1, Matthews', Pearson's and Spearman's correlations, as scikit-learn and SciPy define them for
//! GLUE (Wang et al. 2019), and the area under the ROC curve.

/// Share of predictions that are right; 0 without any.
///
/// ```
/// assert_eq!(mobilebert_tools::metrics::classification::accuracy(&[1, 0, 1, 1], &[1, 1, 1, 0]), 0.5);
/// ```
///
/// # Panics
/// This and the other functions of this module panic if the lists differ in length.
pub fn accuracy<T: PartialEq>(predictions: &[T], references: &[T]) -> f64 {
    assert_eq!(predictions.len(), references.len());
    let right = predictions.iter().zip(references).filter(|(p, r)| p == r).count();
    ratio(right as f64, predictions.len() as f64)
}

/// Precision, recall and F1 of one class.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct ClassScore {
    /// The share of the predicted ones that is right; 0 if none is predicted.
    pub precision: f64,
    /// The share of the true ones that is found; 0 if there is none.
    pub recall: f64,
    /// Harmonic mean of precision and recall; 0 if the class occurs in neither list.
    pub f1: f64,
    /// The number of true ones.
    pub support: usize,
}

/// Scores `class` against all other classes.
///
/// ```
/// let score = mobilebert_tools::metrics::classification::class_score(&[1, 0, 1, 1], &[1, 1, 1, 0], 1);
/// assert_eq!((score.precision, score.recall, score.support), (2.0 / 3.0, 2.0 / 3.0, 3));
/// ```
pub fn class_score(predictions: &[usize], references: &[usize], class: usize) -> ClassScore {
    assert_eq!(predictions.len(), references.len());
    let predicted = predictions.iter().filter(|&&p| p == class).count();
    let support = references.iter().filter(|&&r| r == class).count();
    let found =
        predictions.iter().zip(references).filter(|&(&p, &r)| p == class && r == class).count() as f64;
    ClassScore {
        precision: ratio(found, predicted as f64),
        recall: ratio(found, support as f64),
        f1: ratio(2.0 * found, (support + predicted) as f64),
        support,
    }
}

/// F1 of class 1, which is the score of MRPC and QQP.
pub fn f1(predictions: &[usize], references: &[usize]) -> f64 {
    class_score(predictions, references, 1).f1
}

/// Mean F1 over the classes that occur in either list; 0 without any.
pub fn macro_f1(predictions: &[usize], references: &[usize]) -> f64 {
    let mut classes: Vec<usize> = predictions.iter().chain(references).copied().collect();
    classes.sort_unstable();
    classes.dedup();
    let sum: f64 = classes.iter().map(|&class| class_score(predictions, references, class).f1).sum();
    ratio(sum, classes.len() as f64)
}

/// Matthews' correlation coefficient of two or more classes, -1 to 1; 0 if either list has one class only.
///
/// ```
/// assert_eq!(mobilebert_tools::metrics::classification::matthews(&[1, 0, 1, 0], &[1, 0, 0, 1]), 0.0);
/// ```
pub fn matthews(predictions: &[usize], references: &[usize]) -> f64 {
    assert_eq!(predictions.len(), references.len());
    let classes = predictions.iter().chain(references).max().map_or(0, |most| most + 1);
    let counts = |list: &[usize]| {
        let mut counts = vec![0i128; classes];
        list.iter().for_each(|&class| counts[class] += 1);
        counts
    };
    let (predicted, actual) = (counts(predictions), counts(references));
    let right = predictions.iter().zip(references).filter(|(p, r)| p == r).count() as i128;
    let n = predictions.len() as i128;
    let dot = |a: &[i128], b: &[i128]| a.iter().zip(b).map(|(a, b)| a * b).sum::<i128>();
    let covariance = right * n - dot(&actual, &predicted);
    let spread = (n * n - dot(&predicted, &predicted)) as f64 * (n * n - dot(&actual, &actual)) as f64;
    ratio(covariance as f64, spread.sqrt())
}

/// Pearson's correlation coefficient, -1 to 1; NaN if either list is constant or has less than two numbers.
pub fn pearson(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    let centred = |list: &[f64]| {
        let mean = list.iter().sum::<f64>() / list.len() as f64;
        list.iter().map(|v| v - mean).collect::<Vec<f64>>()
    };
    let (x, y) = (centred(x), centred(y));
    let norm = |list: &[f64]| list.iter().map(|v| v * v).sum::<f64>().sqrt();
    let (norm_x, norm_y) = (norm(&x), norm(&y));
    let correlation: f64 = x.iter().zip(&y).map(|(x, y)| (x / norm_x) * (y / norm_y)).sum();
    // `max` and `min` would turn NaN into a number.
    if correlation.is_nan() || x.len() < 2 { f64::NAN } else { correlation.clamp(-1.0, 1.0) }
}

/// Pearson's correlation of the ranks; equal numbers share the mean of their ranks.
///
/// ```
/// use mobilebert_tools::metrics::classification::spearman;
///
/// let correlation = spearman(&[1.0, 2.0, 30.0], &[-1.0, 5.0, 5.5]);
/// assert!((correlation - 1.0).abs() < 1e-12);
/// ```
pub fn spearman(x: &[f64], y: &[f64]) -> f64 {
    pearson(&ranks(x), &ranks(y))
}

/// The area under the ROC curve: the probability that a positive item has a higher score than a negative one,
/// where equal scores count half (Mann and Whitney 1947), as scikit-learn's `roc_auc_score`. `None` if there is
/// no positive or no negative item, or a score is NaN.
///
/// ```
/// let area = mobilebert_tools::metrics::classification::auroc(&[0.1, 0.9, 0.4], &[false, true, false]);
/// assert_eq!(area, Some(1.0));
/// ```
pub fn auroc(scores: &[f64], positive: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), positive.len());
    let positives = positive.iter().filter(|&&positive| positive).count();
    let negatives = positive.len() - positives;
    if positives == 0 || negatives == 0 || scores.iter().any(|score| score.is_nan()) {
        return None;
    }
    let of_positives: f64 = ranks(scores).iter().zip(positive).filter(|(_, p)| **p).map(|(r, _)| r).sum();
    let (positives, negatives) = (positives as f64, negatives as f64);
    Some((of_positives - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

fn ranks(list: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by(|&a, &b| list[a].total_cmp(&list[b]));
    let mut ranks = vec![0.0; list.len()];
    let mut start = 0;
    for end in 1..=order.len() {
        if end == order.len() || list[order[end]] != list[order[start]] {
            let mean = (start + 1 + end) as f64 / 2.0;
            order[start..end].iter().for_each(|&i| ranks[i] = mean);
            start = end;
        }
    }
    ranks
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_classes_by_hand() {
        let (predictions, references) = ([1, 1, 1, 0, 0, 1], [1, 1, 0, 0, 1, 1]);
        assert_eq!(accuracy(&predictions, &references), 4.0 / 6.0);
        assert_eq!(f1(&predictions, &references), 6.0 / 8.0);
        // tp 3, tn 1, fp 1, fn 1: (3*1 - 1*1) / sqrt(4*4*2*2)
        assert_eq!(matthews(&predictions, &references), 0.25);
        assert_eq!(macro_f1(&predictions, &references), (0.75 + 0.5) / 2.0);
    }

    #[test]
    fn the_area_under_the_curve_by_hand() {
        let area = |scores: &[f64], positive: &[bool]| auroc(scores, positive);
        // Of the 2 * 2 pairs, 0.8 is above both negatives, and 0.3 above one of them.
        assert_eq!(area(&[0.8, 0.5, 0.3, 0.1], &[true, false, true, false]), Some(0.75));
        assert_eq!(area(&[0.1, 0.2, 0.9], &[true, true, false]), Some(0.0));
        // Equal scores count half: 1 > 0 twice, and 1 = 1 twice.
        assert_eq!(area(&[1.0, 1.0, 1.0, 0.0], &[true, true, false, false]), Some(0.75));
        assert_eq!(area(&[5.0; 4], &[true, false, false, true]), Some(0.5));
        assert_eq!(area(&[f64::NEG_INFINITY, f64::INFINITY], &[false, true]), Some(1.0));
        for (scores, positive) in [(&[][..], &[][..]), (&[1.0], &[true]), (&[1.0, 2.0], &[false, false])] {
            assert_eq!(area(scores, positive), None);
        }
        assert_eq!(area(&[f64::NAN, 1.0], &[true, false]), None);
    }

    #[test]
    fn precision_is_of_the_predicted_and_recall_of_the_true_ones() {
        let score = class_score(&[1, 1, 1, 0, 2], &[1, 0, 0, 1, 2], 1);
        assert_eq!((score.precision, score.recall, score.f1, score.support), (1.0 / 3.0, 0.5, 0.4, 2));
        // Class 2 is only predicted, class 0 only true: both count, with an F1 of 0.
        assert_eq!(macro_f1(&[2, 1, 1], &[1, 1, 0]), 0.5 / 3.0);
    }

    #[test]
    fn matthews_takes_more_than_two_classes() {
        // 4 of 5 are right; the classes are predicted 1, 2 and 2 times, and true 2, 1 and 2 times:
        // (4*5 - 8) / sqrt((25 - 9) * (25 - 9)).
        assert_eq!(matthews(&[0, 1, 1, 2, 2], &[0, 1, 0, 2, 2]), (4.0 * 5.0 - 8.0) / 16.0);
    }

    #[test]
    fn what_has_no_value_is_zero_or_nan() {
        assert_eq!((accuracy::<usize>(&[], &[]), f1(&[], &[]), macro_f1(&[], &[])), (0.0, 0.0, 0.0));
        assert_eq!((matthews(&[], &[]), matthews(&[1, 1], &[0, 1])), (0.0, 0.0));
        assert_eq!(f1(&[0, 0], &[0, 0]), 0.0);
        assert!(pearson(&[1.0, 1.0], &[1.0, 2.0]).is_nan() && pearson(&[], &[]).is_nan());
        assert!(pearson(&[1.0], &[1.0]).is_nan());
        assert!((pearson(&[1.0, 2.0], &[5.0, 3.0]) + 1.0).abs() < 1e-12);
        // The rounded sum of this one is 1.0000000000000002.
        assert_eq!(pearson(&[2.0, 9.0], &[7.0, 28.0]), 1.0);
    }

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert!((spearman(&[1.0, 2.0, 3.0], &[9.0, 4.0, 1.0]) + 1.0).abs() < 1e-12);
        assert!((pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]) - 1.0).abs() < 1e-12);
    }
}
