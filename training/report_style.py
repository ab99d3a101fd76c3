"""The look of the report: on screen and on A4, in colours that stay apart for every eye and in grey."""

# blue and orange-brown differ in lightness and stay apart with any colour blindness; hatches and frames say it once more
STYLE = """
:root { --good: #1f5fa8; --defect: #c05a00; --ink: #1c2330; --muted: #586272; --rule: #d7dde5; --ground: #f5f7fa; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 900px; margin: 0 auto; padding: 36px 20px 60px; }
header { border-bottom: 3px solid var(--ink); padding-bottom: 14px; }
h1 { font-size: 29px; line-height: 1.2; margin: 2px 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 12px; }
h3 { font-size: 15px; margin: 16px 0 0; }
.card h3 { margin: 0; }
p { margin: 6px 0; }
.kicker { text-transform: uppercase; letter-spacing: .08em; font-size: 12px; font-weight: 600; color: var(--muted); margin: 0; }
.muted, figcaption, .note { color: var(--muted); font-size: 13.5px; }
.cards { display: grid; grid-template-columns: repeat(3, 1fr); gap: 16px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; }
.card { border: 1px solid var(--rule); border-left-width: 7px; border-radius: 4px; padding: 14px 16px; }
.good-edge { border-left-color: var(--good); }
.defect-edge { border-left-color: var(--defect); }
.big { font-size: 36px; line-height: 1.15; font-weight: 650; }
table { border-collapse: collapse; width: 100%; margin: 14px 0; }
thead { break-after: avoid; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: middle; }
th { font-weight: 500; }
thead th { font-size: 13px; color: var(--muted); border-bottom: 1px solid var(--muted); }
th:first-child { text-align: left; padding-left: 0; overflow-wrap: anywhere; }
.confusion { width: auto; }
.confusion th, .confusion td { padding: 7px 22px; }
.confusion th:first-child { padding-left: 0; }
.confusion td { font-size: 17px; }
.wrong { outline: 2px solid var(--ink); outline-offset: -4px; }
.rates { table-layout: fixed; }
.rates th, .rates td { padding: 6px 5px; width: 8%; white-space: nowrap; }
.rates th:first-child { width: 22%; padding-left: 0; white-space: normal; }
.rates th:nth-child(5) { width: 17%; }
.rates th:nth-child(6) { width: 26%; }
.rates th:last-child { width: 11%; white-space: normal; }
.rates td.bar { padding: 6px 0 6px 12px; }
.scale { display: flex; justify-content: space-between; padding-left: 7px; }
.points { white-space: nowrap; }
.figures td:nth-child(2) { font-weight: 600; white-space: nowrap; }
.figures .note, .facts td { text-align: left; }
.facts td { overflow-wrap: anywhere; font-size: 13.5px; }
.facts th { white-space: nowrap; font-size: 13.5px; vertical-align: top; }
.remarks { background: var(--ground); border-left: 7px solid var(--ink); border-radius: 4px; padding: 14px 22px;
  margin-top: 28px; }
.remarks h2 { margin: 0 0 6px; }
.remarks ul { margin: 0; padding-left: 18px; }
.files { color: var(--muted); font-size: 13px; overflow-wrap: anywhere; }
figure { margin: 0; }
figcaption { margin-top: 6px; }
svg { display: block; max-width: 100%; height: auto; }
svg text { font: 12.5px system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; fill: var(--muted); }
svg .strong { font-weight: 600; fill: var(--ink); }
svg .good-text { fill: var(--good); }
svg .defect-text { fill: var(--defect); }
.good { fill: var(--good); }
.defect { fill: var(--defect); }
.edge-good { stroke: var(--good); }
.edge-defect { stroke: var(--defect); }
.hatch-ground { fill: #fff; }
.grid { stroke: var(--rule); }
.axis { stroke: var(--muted); }
.threshold { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 6 4; }
.curve { fill: none; stroke: var(--good); stroke-width: 2.5; stroke-linejoin: round; }
.mark { fill: #fff; stroke: var(--ink); stroke-width: 2.5; }
.whisker { stroke: var(--ink); stroke-width: 2; }
.point { fill: var(--ink); }
.gallery { display: grid; grid-template-columns: repeat(2, 1fr); gap: 18px; margin: 10px 0 20px; align-items: start; }
.gallery figure { border: 1px solid var(--rule); border-radius: 4px; padding: 8px; break-inside: avoid; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; align-items: center; }
.two img { width: 100%; max-height: 270px; object-fit: contain; }
dt { font-weight: 600; }
dd { margin: 0 0 8px; color: var(--muted); }
@media screen and (max-width: 640px) {
  .cards, .pair, .gallery { grid-template-columns: 1fr; }
  .rates { table-layout: auto; font-size: 13px; }
  .rates th:nth-child(6), .rates td:nth-child(6) { display: none; }
}
@page { size: A4; margin: 14mm; }
@media print {
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 9.5pt; line-height: 1.4; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 18pt; }
  h2 { font-size: 12.5pt; margin: 20px 0 8px; break-after: avoid; }
  th, td, .rates th, .rates td { padding-top: 4px; padding-bottom: 4px; }
  .card { padding: 9px 12px; }
  .big { font-size: 20pt; }
  .muted, .files, figcaption, .note, .facts td, .facts th, thead th { font-size: 8.5pt; }
  .two img { max-height: 210px; }
  tr, .card, .remarks, figure, dt, dd, p.muted { break-inside: avoid; }
  .facts, .figures { break-inside: avoid; }
  dt, h3 { break-after: avoid; }
}
"""
