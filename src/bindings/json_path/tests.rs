use serde_json::json;

use super::*;

fn render_with(budget: usize, template: &str) -> Result<String, PathError> {
    let credentials = json!({
        "host": "db", "port": 26257, "tls": true, "a.b": "dotted", "nothing": null,
        "credentials": {"host": "inner", "user-name": "u"},
        "hosts": [{"host": "a", "port": 1, "tags": ["x"]}, {"host": "b", "port": 2}, {"host": "c", "port": 3}],
    });
    Template::parse(template)?.render(&credentials, &mut Budget::new(budget))
}

fn rendered(template: &str) -> Result<String, PathError> {
    render_with(1000, template)
}

#[test]
fn a_template_mixes_text_and_paths() {
    for (template, expected) in [
        ("{.credentials.host}:{.port}", "inner:26257"),
        ("postgres://{$.host}/{@.tls}", "postgres://db/true"),
        ("plain", "plain"),
        ("", ""),
        ("{.a\\.b}{['a.b']}", "dotteddotted"),
        ("{.credentials.user-name}", "u"),
        ("{ .host }", "db"),
        ("{\"{\"}{.host}{'}'}", "{db}"),
        ("{.hosts[0].host}{.hosts[-1].host}", "ac"),
        ("{.hosts[*].port}", "1 2 3"),
        ("{.hosts[0:2].host}{.hosts[1:].host}{.hosts[::2].port}", "a bb c1 3"),
        ("{.hosts[0,2].host}", "a c"),
        ("{..tags[0]}", "x"),
        ("{.hosts[?(@.port>=2)].host}", "b c"),
        ("{.hosts[?(@.host=='b')].port}", "2"),
        ("{.hosts[?(@.tags)].host}", "a"),
        ("{.hosts[?(@.port == 9)].host}", ""),
        ("{.hosts[0].tags[?(@ == 'x')]}{.hosts[0].tags[?(@. == 'x')]}{.hosts[0].tags[?(@.=='x')]}", "xxx"),
        ("{.hosts[0].tags[?(@.)]}{.hosts[0].tags[?(@. != 'x')]}", "x"),
        ("{range .hosts[*]}{@.host}:{.port}{\"\\n\"}{end}", "a:1\nb:2\nc:3\n"),
        ("{.credentials}", "{\"host\":\"inner\",\"user-name\":\"u\"}"),
        ("{.nothing}", "null"),
    ] {
        assert_eq!(rendered(template).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn an_error_names_the_wrong_part() {
    for (template, words) in [
        ("{.absent}", "{.absent} selects nothing"),
        ("{.hosts[7].host}", "selects nothing"),
        ("{..absent}", "selects nothing"),
        ("{.host", "not closed"),
        ("{host}", "{host}: this is not a path; write {.name}"),
        ("{}", "not a path"),
        ("{.host {.port}}", "inside braces"),
        ("{.hosts[x]}", "[x] is not an index"),
        ("{.hosts[0}", "not closed"),
        ("{.hosts[]}", "[] is not an index or slice"),
        ("{.hosts[::0]}", "[::0]: the step must be positive"),
        ("{.hosts[::-1]}", "[::-1]: the step must be positive"),
        ("{.hosts[?(@.port=2)]}", "write a filter as"),
        ("{.hosts[?(@.port==b)]}", "put texts in quotes"),
        ("{range .hosts[*]}{.host}", "has no {end}"),
        ("{.host}{end}", "without {range}"),
        ("{'a}", "not closed"),
        ("{.host.}", ""),
    ] {
        match rendered(template) {
            Err(error) => assert!(error.to_string().contains(words), "{template}: {error}"),
            Ok(text) => assert_eq!(words, "", "{template} made {text:?}"),
        }
    }
    let nested = "[?(@".repeat(40) + &")]".repeat(40);
    assert!(rendered(&format!("{{.hosts{nested}}}")).unwrap_err().to_string().contains("deeper"));
    let ranges = "{range .hosts[*]}".repeat(40) + &"{end}".repeat(40);
    assert!(rendered(&ranges).unwrap_err().to_string().contains("deeper"));
}

#[test]
fn the_work_and_the_size_are_limited() {
    let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
    for step in ["[0,0,0]", "..*"] {
        let explosion = Template::parse(&format!("{{${}}}", step.repeat(8))).unwrap();
        let result = explosion.render(&deep, &mut Budget::new(1000));
        assert_eq!(result, Err(PathError::TooMuchWork { limit: 1000 }), "{step}");
    }
    let wide = json!({"a": "x".repeat(MAX_TEXT / 2)});
    let render = |text: &str| Template::parse(text).unwrap().render(&wide, &mut Budget::new(10));
    assert!(render("{.a}{.a}").is_ok());
    assert_eq!(render("{.a}{.a}!"), Err(PathError::TooLong));
}
