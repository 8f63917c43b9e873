use super::*;
use std::path::PathBuf;

fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn read(format: DatasetFormat, text: &str, skip: bool) -> Result<(tempfile::TempDir, Dataset), String> {
    let (folder, path) = file("rows", text);
    Ok((folder, Dataset::read(&path, format, RowContent::Prompt, skip, &mut Files::default())?))
}

fn read_from(path: &Path, content: RowContent) -> Result<Dataset, String> {
    Dataset::read(path, DatasetFormat::Sharegpt, content, false, &mut Files::default())
}

fn prompts(dataset: &Dataset) -> Vec<String> {
    (0..dataset.rows())
        .map(|index| dataset.row(index).unwrap().messages.last().unwrap().text.to_string())
        .collect()
}

#[test]
fn each_format_gives_its_rows_back() {
    let jsonl = "\u{feff}{\"prompt\": \"a\"}\n\n{\"prompt\": \"bcd\", \"max_tokens\": 6}\n";
    let (_folder, dataset) = read(DatasetFormat::Jsonl, jsonl, false).unwrap();
    assert_eq!(prompts(&dataset), ["a", "bcd"]);
    let size = DatasetSize {
        with_system: None,
        without_system: Some(RowTexts { min_bytes: 1, max_bytes: 3, max_messages: 1 }),
        mean_bytes: 2.0,
        share_without_system: 1.0,
        max_output_tokens: Some(6),
        output_tokens: (6.0, 0.5),
        conversations: ConversationSize::default(),
    };
    assert_eq!(*dataset.size(RowOrder::Shuffled), size);
    let csv = "\u{feff}prompt,max_tokens\n\"a\nb\",5\nc,\n";
    let (_folder, dataset) = read(DatasetFormat::Csv, csv, false).unwrap();
    assert_eq!(prompts(&dataset), ["a\nb", "c"]);
    assert_eq!(dataset.row(0).unwrap().output_tokens, Some(5));
    let csv = "prompt,max_tokens\nFit a 5\" pipe,11\nb,12\n\"c\"\"\",13\n";
    let (_folder, dataset) = read(DatasetFormat::Csv, csv, false).unwrap();
    assert_eq!(prompts(&dataset), ["Fit a 5\" pipe", "b", "c\""]);
    let sharegpt = r#"[{"conversations": [{"from": "human", "value": "a"}]},
        {"conversations": [{"from": "human", "value": "b"}, {"from": "gpt", "value": "c"}]}]"#;
    let (_folder, dataset) = read(DatasetFormat::Sharegpt, sharegpt, false).unwrap();
    assert_eq!(prompts(&dataset), ["a", "b"]);
    let (_folder, dataset) = read(DatasetFormat::Lines, "a\r\n b \nc", false).unwrap();
    assert_eq!(prompts(&dataset), ["a", "b", "c"]);
    assert!(dataset.row(3).unwrap_err().ends_with("has no such row"));
}

#[test]
fn a_wrong_row_is_an_error_with_its_number_or_is_counted() {
    let text = "{\"prompt\": \"a\"}\n{\n\n{\"prompt\": \"b\"}\n{}\n{\"prompt\": \"c\"}\n";
    let error = read(DatasetFormat::Jsonl, text, false).err().unwrap();
    assert!(error.starts_with("line 2 is not what is expected: EOF"), "{error}");
    assert!(error.ends_with(" (and 1 more)"), "{error}");
    let (_folder, dataset) = read(DatasetFormat::Jsonl, text, true).unwrap();
    assert_eq!((prompts(&dataset), dataset.skipped().count), (vec!["a".into(), "b".into(), "c".into()], 2));
    let second = r#"[{"conversations": [{"from": "human", "value": "a"}]}, {"x": 1}]"#;
    let error = read(DatasetFormat::Sharegpt, second, false).err().unwrap();
    assert!(error.starts_with("item 2 is not what is expected: missing field `conversations`"), "{error}");
    for (format, text, said) in [
        (DatasetFormat::Jsonl, "\n \n", "holds no prompt"),
        (DatasetFormat::Csv, "", "holds nothing"),
        (DatasetFormat::Csv, "prompt\n", "holds no prompt"),
        (DatasetFormat::Csv, "question\na\n", "has no column `prompt` in its first line"),
        (DatasetFormat::Csv, "prompt,weight\na,1\nb\n", "line 3 has 1 fields, and the first line has 2"),
        (DatasetFormat::Sharegpt, "[]", "holds no prompt"),
    ] {
        assert_eq!(read(format, text, false).err().as_deref(), Some(said));
    }
    let error = read(DatasetFormat::Jsonl, "{\n{}\n", true).err().unwrap();
    assert!(
        error.starts_with("holds no prompt; 2 malformed lines were left out, the first: line 1 "),
        "{error}"
    );
    assert!(read_from(Path::new("/missing"), RowContent::Prompt).is_err());
}

#[test]
fn weights_take_memory_only_where_there_are_any() {
    let (_folder, even) =
        read(DatasetFormat::Jsonl, "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n", false).unwrap();
    assert_eq!((even.held(), even.weighted(0.4), even.weighted(0.6), even.weighted(1.0)), (16, 0, 1, 1));
    let text = "{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"weight\": 3}\n{\"prompt\": \"c\"}\n";
    let (_folder, dataset) = read(DatasetFormat::Jsonl, text, false).unwrap();
    assert_eq!(dataset.held(), 48);
    let drawn: Vec<_> = [0.0, 0.19, 0.21, 0.79, 0.81, 0.999].map(|share| dataset.weighted(share)).into();
    assert_eq!(drawn, [0, 0, 1, 1, 2, 2]);
}

#[test]
fn means_count_rows_as_often_as_they_are_drawn() {
    let text = "{\"prompt\": \"a\", \"weight\": 3, \"max_tokens\": 10}\n{\"prompt\": \"bbbbb\", \"max_tokens\": 50}\n\
                {\"prompt\": \"a\", \"weight\": 4}\n";
    let (_folder, dataset) = read(DatasetFormat::Jsonl, text, false).unwrap();
    let of = |order| {
        let size = dataset.size(order);
        let (texts, mean) = size.texts(None);
        (texts.min_bytes, mean, texts.max_bytes, size.output_tokens)
    };
    assert_eq!(of(RowOrder::Weighted), (1, 1.5, 5, (20.0, 0.5)));
    assert_eq!(of(RowOrder::Sequential), (1, 7.0 / 3.0, 5, (30.0, 2.0 / 3.0)));
    let chat = |weight, text: &str| {
        let messages = format!("[{{\"role\": \"user\", \"content\": \"{text}\"}}]");
        format!("{{\"messages\": {messages}, \"weight\": {weight}}}\n")
    };
    let (_folder, path) = file("rows", &[chat(3, "a"), chat(1, "bbbbb")].concat());
    let content = RowContent::Conversation { max_turns: 3 };
    let files = &mut Files::default();
    let dataset = Dataset::read(&path, DatasetFormat::Jsonl, content, false, files).unwrap();
    let questions = |order| dataset.size(order).conversations.mean.questions;
    assert_eq!((questions(RowOrder::Weighted), questions(RowOrder::Shuffled)), (2.0, 3.0));
}

#[test]
fn a_file_that_was_written_to_gives_no_rows_any_more() {
    let (folder, dataset) = read(DatasetFormat::Lines, "a\nb\n", false).unwrap();
    assert!(dataset.row(1).is_ok());
    std::fs::write(folder.path().join("rows"), "another content\n").unwrap();
    let error = dataset.row(1).unwrap_err();
    assert!(error.ends_with("cannot be read: it was changed since it was read"), "{error}");
}

#[test]
fn the_same_content_is_the_same_dataset() {
    let of = |text: &str, format| {
        let (_folder, dataset) = read(format, text, true).unwrap();
        serde_json::to_string(&dataset).unwrap()
    };
    assert_eq!(of("a\nb\n", DatasetFormat::Lines), of("a\nb\n", DatasetFormat::Lines));
    assert_ne!(of("a\nb\n", DatasetFormat::Lines), of("a\nc\n", DatasetFormat::Lines));
    assert_ne!(of("prompt\nb\n", DatasetFormat::Lines), of("prompt\nb\n", DatasetFormat::Csv));
}

#[test]
fn conversations_are_read_with_their_turns_and_measured() {
    let turn = |from: &str, value: &str| format!(r#"{{"from": "{from}", "value": "{value}"}}"#);
    let row = |turns: &[String]| format!(r#"{{"conversations": [{}]}}"#, turns.join(","));
    let long = [
        turn("system", "sss"),
        turn("human", "a"),
        turn("gpt", "bb"),
        turn("human", "cccc"),
        turn("gpt", "x"),
    ];
    let text = format!("[{},\n{}]", row(&long), row(&[turn("human", "dd"), turn("gpt", "e")]));
    let (_folder, path) = file("rows", &text);
    let dataset = read_from(&path, RowContent::Conversation { max_turns: 9 }).unwrap();
    let first = dataset.conversation(0).unwrap();
    assert_eq!((first.system.as_deref(), first.turns.len()), (Some("sss"), 2));
    assert_eq!(&*first.turns[1].question, "cccc");
    assert_eq!(dataset.conversation(1).unwrap().turns[0].answer.as_deref(), Some("e"));
    let ConversationSize { mean, max, min_turns, without_system } =
        dataset.size(RowOrder::Shuffled).conversations;
    let sums = |turns, earlier, system, questions, answers| ConversationSums {
        turns,
        earlier,
        system,
        questions,
        answers,
        unknown_answers: 0.0,
    };
    assert_eq!(mean, sums(1.5, 0.5, 3.0, (1.0 + 5.0 + 2.0) / 2.0, 1.0));
    assert_eq!(max, sums(2.0, 1.0, 6.0, 6.0, 2.0));
    assert_eq!((min_turns, without_system), (1, 0.5));
    // Turns beyond the maximum do not count, and are part of what the dataset is.
    let short = read_from(&path, RowContent::Conversation { max_turns: 1 }).unwrap();
    assert_eq!(
        (short.conversation(0).unwrap().turns.len(), short.size(RowOrder::Shuffled).conversations.max.turns),
        (1, 1.0)
    );
    let shown = |dataset: &Dataset| serde_json::to_string(dataset).unwrap();
    assert_ne!(shown(&dataset), shown(&short));
    // A conversation in which nobody asks anything is a wrong row.
    let (_folder, path) = file("rows", &format!("[{}]", row(&[turn("gpt", "x")])));
    let error = read_from(&path, RowContent::Conversation { max_turns: 1 }).err().unwrap();
    assert_eq!(error, "item 1 has no turn of a user");
}
