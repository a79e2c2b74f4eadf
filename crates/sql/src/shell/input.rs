//! Statements as text: how many may be read, and where one ends.

use std::io::{self, Read};

/// The bytes that statements may have. An endless stream is refused before it fills the memory.
pub(super) const MOST: usize = 16 << 20;

/// Reads all statements of a stream.
pub(super) fn read(stream: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    stream.take(MOST as u64 + 1).read_to_end(&mut bytes)?;
    check(bytes.len())?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Refuses a text of so many bytes if it is too long.
pub(super) fn check(bytes: usize) -> io::Result<()> {
    if bytes > MOST {
        let problem =
            format!("the statements have more than {MOST} bytes; write them into files and read parts");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(())
}

/// True if the last statement of a text is ended by a semicolon that stands in no string and in no comment.
pub(super) fn is_complete(text: &str) -> bool {
    let mut rest = text.chars().peekable();
    let mut ended = false;
    while let Some(char) = rest.next() {
        match char {
            // A quote within a string is written twice, which is the end of a string and the beginning of one.
            '\'' | '"' | '`' => {
                ended = false;
                if !rest.by_ref().any(|other| other == char) {
                    return false;
                }
            }
            '-' if rest.peek() == Some(&'-') => {
                rest.by_ref().find(|other| *other == '\n');
            }
            '/' if rest.peek() == Some(&'*') => {
                let mut last = ' ';
                if !rest
                    .by_ref()
                    .skip(1)
                    .any(|other| std::mem::replace(&mut last, other) == '*' && other == '/')
                {
                    return false;
                }
            }
            ';' => ended = true,
            other if other.is_whitespace() => {}
            _ => ended = false,
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::{MOST, is_complete, read};

    #[test]
    fn a_statement_ends_outside_of_strings_and_comments() {
        for complete in
            ["select 1;", "select 1; \n", "select ';';", "a; b;", ";", "select 1; -- one\n", "x; -- ;"]
        {
            assert!(is_complete(complete), "{complete}");
        }
        for complete in ["select 'it''s';", "select \"a;b\";", "select /* ; */ 1; /* that was it **/"] {
            assert!(is_complete(complete), "{complete}");
        }
        for open in
            ["", "select 1", "select ';", "select ';'", "select 1 -- ;", "select 1; /*", "select 1; /*;*"]
        {
            assert!(!is_complete(open), "{open}");
        }
        for open in ["select 'it''s;", "a; b", "select \";", "/*/ ;"] {
            assert!(!is_complete(open), "{open}");
        }
    }

    #[test]
    fn an_endless_stream_is_refused() {
        assert_eq!(read("select 1;".as_bytes()).unwrap(), "select 1;");
        let problem = read(std::io::repeat(b'x')).unwrap_err().to_string();
        assert!(problem.contains(&MOST.to_string()), "{problem}");
        let problem = read(&[b'a', 0xff][..]).unwrap_err().to_string();
        assert!(problem.contains("utf-8"), "{problem}");
    }
}
