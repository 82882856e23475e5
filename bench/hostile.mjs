// node bench/hostile.mjs [NAME...]: what texts do that someone wrote to stop the process that reads them. Each is read by a
// process of its own, in two sizes, one four times the other: time and memory grow with the text or there is a limit.
// Prints the table of docs/save-and-restore.md. Needs `npm run build`.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { hostileInput, hostileTexts } from './hostile-texts.mjs'

const file = fileURLToPath(import.meta.url)

/** @typedef {{ size: number, outcome: string, ms: number, blockedMs: number, mib: number }} Report */

/** @param {string} name @param {number} size of the text, in parts of the full one @returns {Promise<Report>} */
async function measure(name, size) {
  const { parseState } = await import(
    pathToFileURL(fileURLToPath(new URL('../dist/text.js', import.meta.url))).href
  )
  const text = hostileTexts[name]?.(size) ?? ''
  // Joined here, so that it is not measured.
  Buffer.byteLength(text)
  await parseState('{"services": []}')
  await parseState('services: []', { format: 'yaml' })
  const before = process.memoryUsage.rss()
  let last = performance.now()
  let blockedMs = 0
  let timer = setImmediate(function turn() {
    const now = performance.now()
    blockedMs = Math.max(blockedMs, now - last)
    last = now
    timer = setImmediate(turn)
  })
  const start = performance.now()
  last = start
  const outcome = await parseState(text).then(
    () => 'read',
    (/** @type {Error & { reason?: string }} */ error) => error.reason ?? `${error.name}: ${error.message}`,
  )
  const ms = performance.now() - start
  clearImmediate(timer)
  const peak = process.resourceUsage().maxRSS / 1024
  return {
    size: text.length,
    outcome,
    ms,
    blockedMs: Math.max(blockedMs, performance.now() - last),
    mib: peak - before / 2 ** 20,
  }
}

/** @param {string} name @param {number} size @returns {Report} */
function measureAlone(name, size) {
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [file, '--child', name, String(size)],
    {
      encoding: 'utf8',
    },
  )
  if (status === 0) return /** @type {Report} */ (JSON.parse(stdout))
  const why = /heap out of memory/.test(stderr) ? 'out of memory' : `ended by ${signal ?? String(status)}`
  return { size: 0, outcome: why, ms: 0, blockedMs: 0, mib: 0 }
}

const PEAK = 'Peak in KiB: '
const REPORT_PEAK = `data:text/javascript,process.on('exit', () => console.error('${PEAK}' + process.resourceUsage().maxRSS))`

/** `ipvs adm -R` on a table in memory, from its start to its end. @param {string} name @param {number} size @returns {Report} */
function measureInput(name, size) {
  const input = hostileInput[name]?.(size) ?? ''
  const folder = mkdtempSync(join(tmpdir(), 'ipvs-bench-'))
  try {
    const program = fileURLToPath(new URL('../dist/cli/ipvs.cjs', import.meta.url))
    const start = performance.now()
    const { status, stderr } = spawnSync(process.execPath, ['--import', REPORT_PEAK, program, 'adm', '-R'], {
      encoding: 'utf8',
      input,
      maxBuffer: 2 ** 30,
      env: { ...process.env, IPVS_HISTORY: 'off', IPVS_MEMORY: join(folder, 'table.json') },
    })
    const ms = performance.now() - start
    // The first line names the table in memory.
    const [, first = ''] = stderr.split('\n')
    const outcome = `status ${String(status)}${first.startsWith(PEAK) ? '' : `: ${first}`}`
    const peak = Number(stderr.slice(stderr.lastIndexOf(PEAK) + PEAK.length)) / 1024
    return { size: input.length, outcome, ms, blockedMs: NaN, mib: peak }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

if (process.argv[2] === '--child') {
  console.log(JSON.stringify(await measure(process.argv[3] ?? '', Number(process.argv[4]))))
} else {
  const chosen = process.argv.slice(2)
  console.log(
    '| Text | MB | Time | JS thread kept at a time | Memory | A quarter of it takes | What comes of it |',
  )
  console.log('|---|---|---|---|---|---|---|')
  for (const name of Object.keys({ ...hostileTexts, ...hostileInput })) {
    if (chosen.length > 0 && !chosen.some((word) => name.includes(word))) continue
    const measured = name in hostileInput ? measureInput : measureAlone
    const quarter = measured(name, 0.25)
    const { size, outcome, ms, blockedMs, mib } = measured(name, 1)
    const cells = [
      name,
      (size / 1e6).toFixed(size < 1e6 ? 1 : 0),
      `${ms.toFixed(0)} ms`,
      Number.isNaN(blockedMs) ? '' : `${blockedMs.toFixed(0)} ms`,
      `${mib.toFixed(0)} MiB`,
      `${quarter.ms.toFixed(0)} ms`,
      outcome.length > 90 ? `${outcome.slice(0, 90)}...` : outcome,
    ]
    console.log(`| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
  }
}
