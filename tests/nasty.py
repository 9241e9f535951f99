"""Texts that act in some medium if they are not escaped there; every renderer is tested with all.

Those of `CONTROLS` are refused in experiments.yaml, so renderers never meet them in names; they may
still come in error messages of users' modules.
"""

TEXTS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- end of table -->",
    "<javascript:alert(1)>",
    "&lt;b&gt; & &#106;",
    "]]> --> <?xml?> <!DOCTYPE a>",
    '" onload="alert(1)',
    "'); DROP TABLE runs; --",
    "a|b",
    "a\\|b\\",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "[x]: javascript:alert(1)",
    "`a` **b** _c_ # d",
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1",
    "@SUM(A1)",
    "-2+3",
    "'=1",
    "[/bold]",
    "[bold]a[/] :smile:",
    "[link=http://evil.example]x",
    r"\input{/etc/passwd} \write18{id}",
    "$\\frac{$ _{ ^ ~ %",
    "$x$",
    "{{ 7 * 7 }} {% raw %}",
    "%s %d {0} ${HOME} `id`",
    "../../evil",
    "é Ω ß ±",
    "rtl \u05d0",
    "x" * 110,
)
"""Printable texts, valid as names of variants and claims, and as questions."""

CONTROLS = (
    "a\0b",
    "a\x07b",
    "a\x1b[2Jb",
    "a\x1b]0;title\x07",
    "a\u202eb",
    "a\u200bb",
    "a\rb",
    "a\x85b",
)
"""Texts with characters that act on a terminal or hide something."""
