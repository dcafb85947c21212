use proptest::prelude::*;
use roost_shared::work::GithubSubject;

use super::*;

fn telegram() -> ReplyTo {
    ReplyTo::Telegram {
        chat: 1,
        topic: None,
        message: 1,
    }
}

fn github() -> ReplyTo {
    ReplyTo::Github {
        repository: "octo/repo".to_owned(),
        number: 1,
        subject: GithubSubject::Issue,
        thread: None,
        installation: None,
    }
}

/// Splits for Telegram and checks what holds for every text.
fn pieces(markdown: &str) -> Vec<String> {
    let pieces = split(&telegram(), markdown);
    for piece in &pieces {
        assert!(
            Channel::Telegram.fits(piece),
            "{} units",
            format(piece).text.encode_utf16().count()
        );
        assert!(!piece.trim().is_empty());
    }
    pieces
}

fn all_seen(pieces: &[String]) -> Seen {
    let mut all = Vec::new();
    for (letters, style) in pieces.iter().flat_map(|piece| seen(piece)) {
        see(&mut all, &letters, style);
    }
    all
}

fn words(count: usize) -> String {
    (0..count)
        .map(|number| format!("word{number} "))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

#[test]
fn what_fits_is_left_as_it_is() {
    assert_eq!(pieces("one\n\n- two"), ["one\n\n- two"]);
    assert_eq!(pieces(" \n "), Vec::<String>::new());
    assert_eq!(split(&github(), &words(5_000)).len(), 1);
}

#[test]
fn paragraphs_are_cut_before_lines_and_lines_before_words() {
    let paragraph = words(200);
    let pieces_of_paragraphs = pieces(&[paragraph.as_str(); 5].join("\n\n"));
    assert_eq!(pieces_of_paragraphs[0], [paragraph.as_str(); 2].join("\n\n"));
    let lines = (0..120).map(|_| words(6)).collect::<Vec<_>>().join("\n");
    assert!(
        pieces(&lines)
            .iter()
            .all(|piece| piece.lines().all(|line| line == words(6)))
    );
    let long = pieces(&words(2_000));
    assert_eq!(long.join(" "), words(2_000));
    let endless = pieces(&"ä🚀".repeat(5_000));
    assert_eq!(endless.concat(), "ä🚀".repeat(5_000));
}

#[test]
fn a_code_block_is_closed_and_opened_again() {
    let code = (0..400)
        .map(|number| format!("    let line_{number} = {number};\n"))
        .collect::<String>();
    let text = format!("Look:\n\n````rust,ignore\n{code}````\n\nDone.");
    let pieces = pieces(&text);
    assert!(pieces.len() > 2);
    for piece in &pieces[1..pieces.len() - 1] {
        assert!(
            piece.starts_with("````rust,ignore\n    let line_") && piece.ends_with(";\n````"),
            "{piece}"
        );
    }
    assert_eq!(all_seen(&pieces), seen(&text));
}

#[test]
fn formatting_goes_on_in_the_next_piece() {
    let long = words(1_000);
    for text in [
        format!("**{long}**"),
        format!("a *b **{long}** c* d"),
        format!("~~{long}~~ `{long}`"),
        format!("[{long}](https://example.com/a_(b))"),
        format!("> {}", long.replace("word5", "\n> word5")),
        format!("- one\n- **two** {long}\n\n  para `{long}`\n- three"),
    ] {
        let pieces = pieces(&text);
        assert!(pieces.len() > 1);
        assert_eq!(all_seen(&pieces), seen(&text), "{:#?}", pieces.last());
    }
}

#[test]
fn lists_keep_their_numbers_and_their_code() {
    let item = |number: usize| {
        format!(
            "{number}. item {}\n\n   ```sh\n   echo {}\n   ```\n   - sub {}\n",
            words(30),
            words(20),
            words(9)
        )
    };
    let text = (1..=30).map(item).collect::<String>();
    let all = pieces(&text);
    assert_eq!(all_seen(&all), seen(&text));
    let lazy = (1..=60)
        .map(|_| format!("1. {}\n", words(20)))
        .collect::<String>();
    let all = pieces(&lazy);
    assert!(all.len() > 1);
    assert_eq!(all_seen(&all), seen(&lazy));
}

#[test]
fn deep_code_is_moved_to_the_margin() {
    let code = (0..900)
        .map(|number| format!("      step {number}\n"))
        .collect::<String>();
    let text = format!("- a\n  - b\n    - c\n\n      ```\n{code}      ```\n    - d\n  - e\n- f");
    let pieces = pieces(&text);
    assert!(pieces[1].starts_with("```\nstep "), "{}", pieces[1]);
    assert_eq!(all_seen(&pieces), seen(&text));
}

#[test]
fn a_tables_head_is_repeated() {
    let rows = (0..300)
        .map(|number| format!("| row {number} | {} |\n", words(3)))
        .collect::<String>();
    let pieces = pieces(&format!("Before\n\n| a | b |\n|---|:-:|\n{rows}\nAfter"));
    for piece in &pieces[1..] {
        assert!(piece.starts_with("| a | b |\n|---|:-:|\n| row "), "{piece}");
    }
    assert!(pieces.last().is_some_and(|piece| piece.ends_with("|\n\nAfter")));
}

#[test]
fn an_open_code_block_is_closed_at_the_end() {
    assert_eq!(pieces("```js\nlet a"), ["```js\nlet a\n```"]);
    assert_eq!(pieces("```js\nlet a\n```"), ["```js\nlet a\n```"]);
    assert_eq!(pieces("- a\n  ```js"), ["- a\n  ```js"]);
}

#[test]
fn github_takes_much_more_at_once() {
    let text = (0..900)
        .map(|number| format!("## {number}\n\n{}\n\n", words(12)))
        .collect::<String>();
    let pieces = split(&github(), &text);
    for p in &pieces {
        eprintln!("{} {:?}", p.len(), &p[..60]);
    }
    assert_eq!(pieces.len(), text.len() / COMMENT_LIMIT + 1);
    assert!(
        pieces
            .iter()
            .all(|piece| piece.encode_utf16().count() <= COMMENT_LIMIT && piece.starts_with("## "))
    );
    assert_eq!(all_seen(&pieces), seen(&text));
}

/// Markdown of the kind models write, with every word numbered.
fn prose() -> impl Strategy<Value = String> {
    let inline = prop::sample::select(vec![
        "W W W",
        "**W W W**",
        "*W W*",
        "`W W`",
        "[W W](https://e.x/a)",
        "~~W W~~",
        "W",
    ]);
    let sentence = prop::collection::vec(inline, 1..80).prop_map(|parts| parts.join(" "));
    let block = (sentence, 0..9_u8, 1..8_usize).prop_map(|(text, kind, repeat)| match kind {
        0 => format!(
            "## {}",
            text.chars()
                .take(30)
                .collect::<String>()
                .replace(['*', '`', '~', '[', ']', '('], "")
        ),
        1 => format!("> {text}\n>\n> {text}"),
        2 => (1..=repeat)
            .map(|number| format!("{number}. W {text}\n   - W W\n"))
            .collect(),
        3 => format!(
            "- {text}\n\n  ```rust\n{}  ```\n- {text}",
            "  W W W\n".repeat(repeat * 30)
        ),
        4 => format!("```sh\n{}```", "W W W W\n\n".repeat(repeat * 9)),
        5 => format!("- [ ] {text}\n- [x] {text}\n"),
        _ => text,
    });
    prop::collection::vec(block, 1..10).prop_map(|blocks| {
        // A paragraph between the blocks, or two lists would be one with numbers that jump.
        let text = blocks.join("\n\nW\n\n");
        let mut parts = text.split('W').enumerate();
        let mut numbered = parts.next().map(|(_, part)| part.to_owned()).unwrap_or_default();
        for (number, part) in parts {
            numbered.push_str(&format!("w{number}{part}"));
        }
        numbered
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_word_is_lost_and_every_piece_stands_by_itself(text in prose()) {
        let pieces = pieces(&text);
        let (whole, parts) = (letters(&seen(&text)), letters(&all_seen(&pieces)));
        if let Some(at) = whole.bytes().zip(parts.bytes()).position(|(one, other)| one != other) {
            let from = at.saturating_sub(40);
            prop_assert!(false, "{} became {}", &whole[from..][..80.min(whole.len()-from)], &parts[from..][..80.min(parts.len()-from)]);
        }
        prop_assert_eq!(whole.len(), parts.len());
        for piece in &pieces {
            let fences = piece.lines().filter(|line| line.trim_start_matches(['>', ' ']).starts_with("```")).count();
            prop_assert_eq!(fences % 2, 0, "{}", piece);
        }
    }

    #[test]
    fn any_text_is_split(text in "([a-z]{1,9}|[*_`~>#|\\[\\]()!<\\-+.&\\\\]{1,4}|\\n|\\t| |🚀|é|1\\. |https://e\\.x){0,60}", times in 1..60_usize) {
        let text = text.repeat(times);
        let pieces = pieces(&text);
        let letters = |text: &str| text.chars().filter(char::is_ascii_lowercase).collect::<Vec<_>>();
        let mut found = letters(&pieces.concat()).into_iter();
        for letter in letters(&text) {
            prop_assert!(found.any(|other| other == letter), "a letter is lost");
        }
    }
}
