// Texts that someone would write who wants to stop the process that reads them. test/text/hostile.test.ts reads them in small.

const MB = 1e6
const MOST = 50 * MB

/** @param {number} parts @param {(index: number) => string} make */
const list = (parts, make) => Array.from({ length: Math.round(parts) }, (_, index) => make(index))
/** @param {number} index */
const address = (index) => `10.${String(index >> 16)}.${String((index >> 8) & 255)}.${String(index & 255)}`

/**
 * Each gives a text of so many parts of its full size.
 *
 * @type {Record<string, (size: number) => string>}
 */
export const hostileTexts = {
  'JSON: one string': (size) => `{"services": [{"protocol": "${'x'.repeat(MOST * size)}"}]}`,
  'JSON: escapes in one string': (size) =>
    `{"services": [{"protocol": "${'\\n'.repeat((MOST / 2) * size)}"}]}`,
  'JSON: one number': (size) => `{"services": [${'1'.repeat(MOST * size)}]}`,
  'JSON: one word': (size) => `{"services": ${'x'.repeat(MOST * size)}}`,
  'JSON: blanks': (size) => `{"services": [${' '.repeat(MOST * size)}]}`,
  'JSON: line ends': (size) => `{"services": [${'\n'.repeat(MOST * size)}]}`,
  'JSON: open arrays': (size) => `{"services": ${'['.repeat(MOST * size)}`,
  'JSON: names': (size) => `{${list(MOST * 0.05 * size, (index) => `"name${String(index)}": 1`).join()}}`,
  'JSON: zeros in a list': (size) => `{"services": [${'0,'.repeat((MOST / 2) * size)}0]}`,
  'JSON: arrays in an array': (size) => `{"services": [${'[],'.repeat((MOST / 3) * size)}[]]}`,
  'JSON: a million rules': (size) =>
    `{"services": [${list(100, (service) => `{"protocol": "fwmark", "fwmark": ${String(service + 1)}, "realServers": [${list(1e4 * size, (index) => `{"address": "${address(service * 1e4 + index)}"}`).join()}]}`).join()}]}`,
  'YAML: one word': (size) => `services: ${'x'.repeat(MOST * size)}\n`,
  'YAML: one quoted string': (size) => `services: "${'x'.repeat(MOST * size)}"\n`,
  'YAML: blanks': (size) => `services:${' '.repeat(MOST * size)}[]\n`,
  'YAML: line ends': (size) => `services: []\n${'\n'.repeat(MOST * size)}`,
  'YAML: comments': (size) => `services: []\n${'#\n'.repeat((MOST / 2) * size)}`,
  'YAML: open arrays': (size) => `services: ${'['.repeat(1e5 * size)}`,
  'YAML: nested blocks': (size) =>
    `services:\n${list(1000 * size, (index) => `${' '.repeat(index)}- \n`).join('')}`,
  'YAML: dashes on a line': (size) => `services:\n${'- '.repeat(1e5 * size)}\n`,
  'YAML: aliases that multiply': (size) =>
    `a0: &a0 [${Array(9).fill('x').join()}]\n${list(
      40 * size,
      (index) =>
        `a${String(index + 1)}: &a${String(index + 1)} [${Array(9)
          .fill(`*a${String(index)}`)
          .join()}]\n`,
    ).join('')}`,
  'YAML: blank lines before comments': (size) =>
    `a: |\n  x\n${'\n'.repeat(5e5 * size)}${'  #\n'.repeat(5e5 * size)}`,
  'YAML: closing brackets': (size) => `services: ${']'.repeat(1.6e7 * size)}\n`,
  'YAML: commas in a list': (size) => `services: [${','.repeat(7e6 * size)}]\n`,
  'YAML: tags': (size) => `services: ${'!a '.repeat(3.5e6 * size)}\n`,
  'YAML: strings in a row': (size) => `services: ${'"" '.repeat(3.5e6 * size)}\n`,
  'YAML: directives': (size) => '%a\n'.repeat(9e5 * size),
  'YAML: lists in a list': (size) => `services: [${'[],'.repeat(2.5e6 * size)}]\n`,
  'YAML: pairs in a list': (size) => `services: [${'a: 1,'.repeat(1e6 * size)}]\n`,
  'YAML: anchors': (size) => `services:\n${list(2e5 * size, (index) => `- &b${String(index)} 1\n`).join('')}`,
  'YAML: anchors and aliases': (size) => `services:\n${'- &a []\n- *a\n'.repeat(9900 * size)}`,
  'YAML: aliases': (size) =>
    `services: &a []\n${list(1e5 * size, (index) => `a${String(index)}: *a\n`).join('')}`,
  'YAML: merges': (size) =>
    `a0: &a0 { x0: 0 }\n${list(2000 * size, (index) => `a${String(index + 1)}: &a${String(index + 1)} { <<: *a${String(index)}, x${String(index + 1)}: 0 }\n`).join('')}`,
  'YAML: merges of a large mapping': (size) =>
    `x: &a {${list(1000 * size, (index) => `a${String(index)}: 0`).join()}}\nservices:\n${'- {<<: *a}\n'.repeat(9900 * size)}`,
  'YAML: aliases of lists': (size) =>
    `services:\n  - { protocol: fwmark, fwmark: 1, realServers: &a [${list(1e5 * size, (index) => `{address: ${address(index)}}`).join()}] }\n${list(9900 * size, (index) => `  - { protocol: fwmark, fwmark: ${String(index + 2)}, realServers: *a }\n`).join('')}`,
  'YAML: zeros in a list': (size) => `services: [${'0,'.repeat((MOST / 2) * size)}0]\n`,
  'YAML: names': (size) => list(2e5 * size, (index) => `name${String(index)}: 1\n`).join(''),
  'YAML: a million rules': (size) =>
    `services:\n${list(100, (service) => `  - protocol: fwmark\n    fwmark: ${String(service + 1)}\n    realServers:\n${list(1e4 * size, (index) => `      - { address: ${address(service * 1e4 + index)} }\n`).join('')}`).join('')}`,
  'ipvsadm lines: one word': (size) => `-A -t ${'x'.repeat(MOST * size)}\n`,
  'ipvsadm lines: one line of options': (size) => `-A -f 1 ${'-o '.repeat((MOST / 3) * size)}\n`,
  'ipvsadm lines: one line of words': (size) => `-A -f 1 ${'x '.repeat((MOST / 2) * size)}\n`,
  'ipvsadm lines: blanks': (size) => `-A -f 1${' '.repeat(MOST * size)}\n`,
  'ipvsadm lines: line ends': (size) => `-A -f 1\n${'\n'.repeat(MOST * size)}`,
  'ipvsadm lines: comments': (size) => `-A -f 1\n${'#\n'.repeat((MOST / 2) * size)}`,
  'ipvsadm lines: -C': (size) => '-C\n'.repeat(1e6 * size),
  'ipvsadm lines: a million rules': (size) =>
    list(
      100,
      (service) =>
        `-A -f ${String(service + 1)}\n${list(1e4 * size, (index) => `-a -f ${String(service + 1)} -r ${address(service * 1e4 + index)}\n`).join('')}`,
    ).join(''),
  'comments alone': (size) => '#\n'.repeat((MOST / 2) * size),
  'blanks alone': (size) => ' '.repeat(MOST * size),
  'line ends and an end': (size) => `${'\n'.repeat(MOST * size)}x`,
}

/**
 * The same for standard input of `ipvs adm -R`.
 *
 * @type {Record<string, (size: number) => string>}
 */
export const hostileInput = {
  'ipvs adm -R: one line': (size) => 'x'.repeat(MOST * size),
  'ipvs adm -R: words on a line': (size) => `-A -f 1 ${'x '.repeat(5e5 * size)}\n`,
  'ipvs adm -R: options on a line': (size) => `-A -f 1 -b ${'sh-port,'.repeat(1.25e5 * size)}\n`,
  'ipvs adm -R: line ends': (size) => '\n'.repeat(MOST * size),
  'ipvs adm -R: a service twice': (size) => '-A -f 1\n'.repeat(2e5 * size),
}
