// npm run check: what finds most mistakes within a minute, without the addon, a guest or a network. Two at a time, where
// there are two processors; the longest first.
import { mkdtemp, rm } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { runJobs } from './jobs.mjs'

process.chdir(path.join(path.dirname(fileURLToPath(import.meta.url)), '..'))

/** @param {string} name @param {string[]} args @returns {import('./jobs.mjs').Job} */
const tool = (name, ...args) => ({ name, argv: [`node_modules/.bin/${name}`, ...args] })

const JOBS = [
  tool('eslint', '.'),
  tool('tsc'),
  { ...tool('tsc', '-p', 'tsconfig.build.json', '--noEmit'), name: 'published types' },
  { ...tool('vitest', 'run', '--project', 'unit', '--maxWorkers', '1'), name: 'unit tests' },
  tool('prettier', '--check', '.'),
]

const logs = await mkdtemp(path.join(tmpdir(), 'ipvs-check-'))
try {
  const outcomes = await runJobs(JOBS, Math.min(availableParallelism(), 2), logs)
  process.exitCode = outcomes.every(({ status }) => status === 0) ? 0 : 1
} finally {
  await rm(logs, { recursive: true, force: true })
}
