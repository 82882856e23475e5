// Runs jobs side by side, as many as there are processors, and counts what they report. What a job prints is shown whole if
// it fails.
import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import process from 'node:process'
import { PATIENCE } from '../test/helpers/patience.mjs'

/**
 * @typedef {object} Job
 * @property {string} name
 * @property {readonly string[]} argv
 * @property {Readonly<Record<string, string>>} [env] besides this process's own
 * @property {number} [cores] how many processors it keeps busy; 1 if left out
 * @property {string} [report] where it writes vitest's JSON report. A job without one counts as one test.
 */

/**
 * @typedef {object} Outcome
 * @property {string} name
 * @property {number} status the exit status
 * @property {number} seconds
 * @property {number} passed
 * @property {number} failed
 * @property {string[]} failures the tests that failed, by file and name
 * @property {string[]} skipped the tests that did not run
 * @property {Map<string, number>} files the seconds of each test file
 */

/** A job that prints nothing for so long hangs. */
export const SILENCE_SECONDS = Math.ceil(600 * PATIENCE)

/** The exit status of a guest that could not run. */
export const GUEST_UNAVAILABLE = 125

/**
 * Runs jobs in their order, each as soon as the processors that it wants are free.
 *
 * @param {readonly Job[]} jobs
 * @param {number} cores
 * @param {string} folder for what they print
 * @returns {Promise<Outcome[]>}
 */
export async function runJobs(jobs, cores, folder) {
  const waiting = [...jobs]
  /** @type {Outcome[]} */
  const outcomes = []
  let free = cores
  await /** @type {Promise<void>} */ (
    new Promise((resolve, reject) => {
      const next = () => {
        if (waiting.length === 0 && free === cores) resolve()
        for (let job = waiting[0]; job; job = waiting[0]) {
          const wanted = Math.min(job.cores ?? 1, cores)
          if (wanted > free) return
          waiting.shift()
          free -= wanted
          runJob(job, folder).then((outcome) => {
            outcomes.push(outcome)
            free += wanted
            next()
          }, reject)
        }
      }
      next()
    })
  )
  return outcomes
}

/**
 * @param {Job} job
 * @param {string} folder
 * @returns {Promise<Outcome>}
 */
async function runJob(job, folder) {
  console.log(`   ${job.name}: begins`)
  const begin = performance.now()
  const log = path.join(folder, `${job.name.replace(/\W+/g, '-')}.log`)
  const status = await toItsEnd(job, log)
  const seconds = Math.round((performance.now() - begin) / 1000)
  const outcome = { name: job.name, status, seconds, ...(await countOf(job, status)) }
  const counts = job.report === undefined ? '' : `${outcome.passed} passed, ${outcome.failed} failed, `
  console.log(
    `${status === 0 ? 'ok' : '!!'} ${job.name}: ${counts}${seconds} s${status === 0 ? '' : `, exit status ${status}`}`,
  )
  if (status !== 0) process.stdout.write(indent(await readFile(log, 'utf8')))
  return outcome
}

/**
 * @param {Job} job
 * @param {string} log the file that gets what it prints
 * @returns {Promise<number>} its exit status
 */
function toItsEnd({ argv, env }, log) {
  const [command = '', ...args] = argv
  const output = createWriteStream(log)
  return new Promise((resolve, reject) => {
    // A process group of its own, so that all of a job that hangs can be ended.
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    const end = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM')
      } catch {
        // It has just ended.
      }
    }
    const silence = setTimeout(() => {
      output.write(`\nended because it had printed nothing for ${SILENCE_SECONDS} s\n`)
      end()
    }, SILENCE_SECONDS * 1000)
    process.once('exit', end)
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (bytes) => {
        output.write(bytes)
        silence.refresh()
      })
    }
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(silence)
      process.off('exit', end)
      output.end(() => {
        resolve(code ?? 1)
      })
    })
  })
}

/**
 * @param {Job} job
 * @param {number} status
 * @returns {Promise<Pick<Outcome, 'passed' | 'failed' | 'failures' | 'skipped' | 'files'>>}
 */
async function countOf({ report }, status) {
  /** @type {Pick<Outcome, 'passed' | 'failed' | 'failures' | 'skipped' | 'files'>} */
  const count = { passed: 0, failed: 0, failures: [], skipped: [], files: new Map() }
  if (report === undefined) {
    if (status === 0) count.passed = 1
  } else {
    const counted = await readFile(report, 'utf8').then(JSON.parse, () => undefined)
    for (const file of counted?.testResults ?? []) {
      const place = path.relative(process.cwd(), file.name)
      count.files.set(place, (file.endTime - file.startTime) / 1000)
      // Such as one that cannot be imported.
      if (file.status === 'failed' && file.assertionResults.length === 0) count.failures.push(place)
      for (const { status: ended, fullName } of file.assertionResults) {
        if (ended === 'passed') count.passed++
        else if (ended === 'failed') count.failures.push(`${place}: ${fullName}`)
        else count.skipped.push(`${place}: ${fullName}`)
      }
    }
  }
  // What failed without a failed test, such as a run that did not start, is a failure too.
  if (status !== 0 && count.failures.length === 0) count.failures.push(`exit status ${status}`)
  count.failed = count.failures.length
  return count
}

/** @param {string} text */
function indent(text) {
  return text.replace(/^/gm, '     ').trimEnd() + '\n'
}
