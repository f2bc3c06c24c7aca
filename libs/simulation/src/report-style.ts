/** How the page of a comparison looks: light or dark as the reader has it, and plain on paper. Lines differ in colour and in dashes. */
export const pageStyle = `
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5c6670;--rule:#d9dee3;--paper:#fff;
--s0:#0b62a8;--s1:#c2410c;--s2:#157347;--s3:#7c3aed;--s4:#a16207;--s5:#be185d}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa5b1;--rule:#39424b;--paper:#14181c;
--s0:#6db5f2;--s1:#ff9d66;--s2:#5fd39a;--s3:#b79bff;--s4:#e5c158;--s5:#ff8fc0}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.5rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}h3{font-size:1rem;margin:1rem 0 .25rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .9rem .2rem 0;border-bottom:1px solid var(--rule);text-align:right;font-weight:normal;white-space:nowrap}
th[scope=row]{text-align:left;white-space:normal}thead th{font-weight:600}small{color:var(--soft)}
.list th,.list td{text-align:left}
figure{margin:0}figcaption{color:var(--soft);font-size:.9rem}svg{display:block;width:100%;height:auto}
.key{display:inline-flex;align-items:center;gap:.4rem;margin-right:1rem;color:var(--ink)}.key svg{width:28px;height:8px}
.rule{stroke:var(--rule)}.tick{fill:var(--soft);font-size:11px}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.s0{stroke:var(--s0)}.s1{stroke:var(--s1);stroke-dasharray:7 3}.s2{stroke:var(--s2);stroke-dasharray:2 2}
.s3{stroke:var(--s3);stroke-dasharray:9 3 2 3}.s4{stroke:var(--s4);stroke-dasharray:1 4}.s5{stroke:var(--s5);stroke-dasharray:12 4}
@media print{main{max-width:none;padding:0}figure,tr{break-inside:avoid}h2{break-after:avoid}}
`.replaceAll('\n', '');
