//! The file tools: byte for byte, with their conflicts, and finding things.

use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test]
async fn files_are_written_read_and_edited_byte_for_byte() {
    let fixture = Fixture::new().await;
    let wrote = fixture
        .ok(
            "write_file",
            json!({"path": "src/a.py", "content": "one\n\ttwo\r\nthree\n"}),
        )
        .await;
    assert_eq!(wrote, "Wrote src/a.py (3 lines, 16 bytes).");
    assert_eq!(
        fixture.ok("read_file", json!({"path": "src/a.py"})).await,
        "1\tone\n2\t\ttwo\n3\tthree\n"
    );
    let edited = fixture
        .ok(
            "edit_file",
            json!({"path": "~/src/a.py", "old": "\ttwo\r\n", "new": "\t2\r\n"}),
        )
        .await;
    assert_eq!(edited, "Edited src/a.py at line 2.");
    assert_eq!(
        std::fs::read(fixture.home.join("src/a.py")).unwrap(),
        b"one\n\t2\r\nthree\n"
    );
    let all = json!({"path": "src/a.py", "old": "e", "new": "E", "replace_all": true});
    assert_eq!(fixture.ok("edit_file", all).await, "Edited src/a.py at 3 places.");

    fixture
        .fails(
            "edit_file",
            json!({"path": "src/a.py", "old": "nowhere", "new": "x"}),
            "is not in the file",
        )
        .await;
    fixture
        .fails("read_file", json!({"path": "missing"}), "does not exist")
        .await;
    fixture
        .fails("read_file", json!({"path": "src"}), "is a directory")
        .await;
    fixture
        .fails(
            "read_file",
            json!({"path": "../../../../../etc/passwd"}),
            "outside the sprite",
        )
        .await;
    fixture
        .fails("read_file", json!({}), "missing field `path`")
        .await;
    fixture
        .fails(
            "write_file",
            json!({"path": "src", "content": ""}),
            "is a directory",
        )
        .await;
    fixture.bash("printf 'a\\0b' > binary").await;
    fixture
        .fails("read_file", json!({"path": "binary"}), "not text (3 bytes)")
        .await;
    fixture
        .fails(
            "shout",
            json!({}),
            "Tools: bash, edit_file, glob, grep, list, read_file, write_file.",
        )
        .await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_file_that_changed_since_it_was_read_is_left_alone() {
    let fixture = Fixture::new().await;
    let edit = || json!({"path": "f", "old": "mine", "new": "edited"});
    fixture
        .ok("write_file", json!({"path": "f", "content": "mine\n"}))
        .await;
    fixture.bash("echo theirs >> f").await;
    fixture
        .fails("edit_file", edit(), "has changed since you last read it")
        .await;
    fixture
        .fails(
            "write_file",
            json!({"path": "f", "content": "overwritten"}),
            "has changed since",
        )
        .await;
    assert_eq!(
        std::fs::read_to_string(fixture.home.join("f")).unwrap(),
        "mine\ntheirs\n"
    );
    fixture.ok("read_file", json!({"path": "f"})).await;
    fixture.ok("edit_file", edit()).await;
    assert_eq!(
        std::fs::read_to_string(fixture.home.join("f")).unwrap(),
        "edited\ntheirs\n"
    );
    fixture.bash("rm f").await;
    fixture
        .ok("write_file", json!({"path": "f", "content": "anew"}))
        .await;
    fixture.stop().await;
}

#[tokio::test]
async fn edits_of_one_answer_do_not_lose_each_other_and_a_repeated_one_is_made_once() {
    let fixture = Fixture::new().await;
    fixture
        .ok("write_file", json!({"path": "f", "content": "a b c\n"}))
        .await;
    let edits = [("a", "A"), ("b", "B"), ("c", "C")]
        .map(|(old, new)| fixture.call("edit_file", json!({"path": "f", "old": old, "new": new})));
    assert!(
        futures::future::join_all(edits)
            .await
            .iter()
            .all(|output| !output.is_error)
    );
    assert_eq!(
        std::fs::read_to_string(fixture.home.join("f")).unwrap(),
        "A B C\n"
    );

    // Its result contains what it replaces: made twice, it would show.
    let edit = json!({"path": "f", "old": "A", "new": "AA"});
    let first = fixture
        .tools
        .call(&fixture.context.for_call("call_1"), "edit_file", edit.clone())
        .await;
    let next = fixture.next_runner().await;
    let again = fixture
        .tools
        .call(&next.for_call("call_1"), "edit_file", edit)
        .await;
    assert_eq!((first.clone(), first.is_error), (again, false));
    assert_eq!(
        std::fs::read_to_string(fixture.home.join("f")).unwrap(),
        "AA B C\n"
    );
    fixture.stop().await;
}

#[tokio::test]
async fn files_are_found_by_name_and_by_content() {
    let fixture = Fixture::new().await;
    for (path, content) in [
        ("src/main.rs", "fn main() {\n    println!(\"hi\");\n}\n"),
        ("src/deep/mod.rs", "fn helper() {}\n"),
        ("README.md", "Main thing\n"),
        (".git/config", "fn hidden() {}\n"),
        ("-odd name", "fn odd() {}\n"),
    ] {
        fixture
            .ok("write_file", json!({"path": path, "content": content}))
            .await;
    }
    assert_eq!(
        fixture.ok("glob", json!({"pattern": "**/*.rs"})).await,
        "src/deep/mod.rs\nsrc/main.rs"
    );
    assert_eq!(
        fixture
            .ok("glob", json!({"pattern": "*.rs", "path": "src/deep"}))
            .await,
        "mod.rs"
    );
    assert_eq!(
        fixture.ok("glob", json!({"pattern": "config"})).await,
        "[no file matches]"
    );
    fixture
        .fails("glob", json!({"pattern": "{a"}), "can't be read")
        .await;
    fixture
        .fails("glob", json!({"pattern": "*", "path": "nowhere"}), "No such file")
        .await;

    let found = fixture.ok("grep", json!({"pattern": "fn \\w+\\("})).await;
    let mut lines: Vec<_> = found.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "-odd name:1:fn odd() {}",
            "src/deep/mod.rs:1:fn helper() {}",
            "src/main.rs:1:fn main() {"
        ]
    );
    let around = json!({"pattern": "MAIN", "ignore_case": true, "path": "src/main.rs", "context": 1});
    assert_eq!(
        fixture.ok("grep", around).await,
        "src/main.rs:1:fn main() {\nsrc/main.rs-2-    println!(\"hi\");\n"
    );
    let files = json!({"pattern": "fn", "include": "*.rs", "output": "files", "limit": 1});
    assert!(
        fixture
            .ok("grep", files)
            .await
            .ends_with("[1 more lines; narrow the pattern, the path or include]\n")
    );
    assert_eq!(
        fixture.ok("grep", json!({"pattern": "absent"})).await,
        "[no line matches]"
    );
    fixture
        .fails("grep", json!({"pattern": "(open"}), "grep failed")
        .await;
    // What looks like an option or a command is neither.
    assert_eq!(
        fixture
            .ok(
                "grep",
                json!({"pattern": "--version; touch pwned", "path": "-odd name"})
            )
            .await,
        "[no line matches]"
    );
    assert!(!fixture.home.join("pwned").exists());

    let listed = fixture.ok("list", json!({})).await;
    let names: Vec<_> = listed.lines().map(|line| line[16..].to_owned()).collect();
    assert_eq!(names, [".git/", "src/", "-odd name", "README.md"]);
    fixture.stop().await;
}
