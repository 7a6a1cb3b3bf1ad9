//! Pages that need nothing from elsewhere.

use super::escape::escape;

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#1d2329;--dim:#68717a;--line:#dfe3e7;--back:#fff;--pane:#f6f7f9;\
--link:#1667b8;--good:#1f8a4c;--doubt:#b26a00;--bad:#d60f2c}\
@media (prefers-color-scheme:dark){:root{--text:#dde2e7;--dim:#949da6;--line:#30363c;--back:#15181b;\
--pane:#1c2024;--link:#6fb1f2;--good:#4cc27e;--doubt:#e6a23c;--bad:#ff6478}}\
body{font:14px/1.45 system-ui,'Segoe UI',Helvetica,Arial,sans-serif;color:var(--text);\
background:var(--back);margin:24px;max-width:1180px}\
h1{font-size:22px;margin:0 0 6px}h2{font-size:17px;margin:30px 0 8px}a{color:var(--link)}\
code,.mono{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12.5px;overflow-wrap:anywhere}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:4px 10px 4px 0;border-bottom:1px solid var(--line)}\
th{color:var(--dim);font-weight:500}.dim{color:var(--dim)}.num{text-align:right}\
.valid{color:var(--good)}.unknown{color:var(--doubt)}.invalid{color:var(--bad)}\
.valid,.unknown,.invalid{font-weight:600}.chart{width:100%;height:auto;border:1px solid var(--line);\
margin:0 0 14px;display:block}.verdict{background:var(--pane);border-left:5px solid;padding:10px 14px;\
overflow-wrap:anywhere}ul{padding-left:20px}td{overflow-wrap:anywhere}td:first-child,td.valid,td.unknown,td.invalid{white-space:nowrap}";

/// `style` is added to that of all pages; `body` is HTML already.
pub(super) fn html(title: &str, style: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <title>{title}</title>\n<style>{STYLE}{style}</style></head>\n<body>\n{body}</body></html>\n"
    )
}
