//! The table is that of the taxonomy.

#[test]
fn published_algorithms_take_three_two_and_one_passes() {
    let table = passes::table();
    let counts: Vec<(&str, u32)> = table.iter().map(|it| (it.name.as_str(), it.written)).collect();
    let expected = [
        ("stable_softmax", 3),
        ("deferred_division", 2),
        ("local_maximum", 2),
        ("merged_blocks", 1),
        ("running_output", 1),
        ("running_numerator", 1),
    ];
    assert_eq!(counts, expected);
    assert!(table.iter().all(|it| it.bound <= it.written));
    assert_eq!((table[0].bound, table[1].bound), (1, 1));
}
