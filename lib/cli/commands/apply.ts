import type { Command } from 'commander'
import {
  type ApplyProgress,
  type ApplyResult,
  type Differences,
  type FailedStep,
  formatEndpoint,
  formatServiceKey,
  type Ipvs,
  IpvsError,
  type State,
  type Step,
} from '../../index.ts'
import { applyPlan } from '../apply-plan.ts'
import type { CommandDefinition } from '../command.ts'
import { checkedLater, Refused, STATUS } from '../exit-status.ts'
import { makeChange } from '../make-change.ts'
import { type ChangeOptions, guardsOf, planOptions, STATE_FILE, withGuards, withChange } from '../options.ts'
import { doneLine, isSame, printPlan } from '../print-plan.ts'
import type { CommonOptions, Run } from '../run.ts'
import { ofFile, readStateOf, STDIN } from '../state-file.ts'
import { ask } from '../terminal/ask.ts'
import { line } from '../terminal/line.ts'
import { counted, inCommandWords } from '../words.ts'

/** Options of `ipvs apply` and `ipvs restore`. */
export interface ApplyCommandOptions extends ChangeOptions {
  readonly dryRun?: boolean
  readonly yes?: boolean
  readonly keepGoing?: boolean
}

export function withKeepGoing(command: Command): Command {
  return command.option(
    '--keep-going',
    'do what can be done, and report each step that failed, instead of undoing everything',
  )
}

export const apply: CommandDefinition = {
  name: 'apply',
  description: 'Make the table equal to a state. If a step fails, everything is undone.',
  examples: [
    'ipvs apply web.yaml',
    'ipvs apply web.yaml --yes --max-deletions 2',
    'ipvs apply web.yaml --drain 60 --yes',
    'ipvs apply web.yaml --scope 192.0.2.0/24 --keep-weights --allow add-server,edit-server',
  ],
  define: (command) =>
    withChange(withKeepGoing(withGuards(command.argument('<file>', STATE_FILE))))
      .option('--dry-run', 'only print what would be done')
      .option('--yes', 'do not ask before removing anything'),
  act: (run: Run, options: CommonOptions & ApplyCommandOptions, file: string) =>
    applyFile(run, options, file),
}

/** Makes the table equal to the state in a file. Gives the exit status. */
export async function applyFile(run: Run, options: ApplyCommandOptions, file: string): Promise<number> {
  const state = await readStateOf(file, run.surroundings, options)
  return applyTarget(run, options, () => Promise.resolve({ state, file }))
}

/** A state that the table is to become equal to. */
export interface Target {
  readonly state: State
  /** Where it is from. */
  readonly file: string
  /** Finds it again, if it depends on the table. */
  readonly again?: () => Promise<State>
}

/** Makes the table equal to a state, which may depend on the table. Gives the exit status. */
export async function applyTarget(
  run: Run,
  options: ApplyCommandOptions,
  find: (ipvs: Ipvs) => Promise<Target>,
): Promise<number> {
  const { status, say } = await run.withTable((ipvs) =>
    run.interruptible(async (signal) => applyState(run, ipvs, await find(ipvs), options, signal)),
  )
  // A table in a file is written last, so only now it is true.
  await say?.()
  return status
}

/** How a command ends: its status, and what it then says. */
export interface Applied {
  readonly status: number
  readonly say?: () => void | Promise<void>
}

/** Makes the table equal to a state, that of a file or one with another name for messages. */
export async function applyState(
  run: Run,
  ipvs: Ipvs,
  { state, file, again }: Target,
  options: ApplyCommandOptions,
  signal: AbortSignal,
): Promise<Applied> {
  const how = { ...planOptions(options), signal }
  const guards = {
    ...guardsOf(options),
    ...(options.keepGoing !== undefined && { keepGoing: options.keepGoing }),
    signal,
  }
  const { onProgress, clear } = progressOf(run)

  const change = (work: () => Promise<ApplyResult>): Promise<ApplyResult> =>
    makeChange(run, ipvs, work, {
      changed: hasChanged,
      sysctls: Object.keys(state.sysctls ?? {}),
      signal,
    }).finally(clear)

  if (options.yes === true && options.dryRun !== true) {
    // Confirmed beforehand, whatever there is to do by now.
    const result = await change(() =>
      checkedLater(ofFile(file, ipvs.apply(state, { ...how, ...guards, onProgress }))),
    )
    return {
      status: statusOf(result),
      say: () => sayApplied(run, result, options),
    }
  }

  const found = await checkedLater(ofFile(file, ipvs.plan(state, how)))
  if (!run.json) await printPlan(run, found)
  // Guards are asked before the person is, and their errors are printed below the plan that they are about.
  const dry = await checkedLater(ofFile(file, ipvs.apply(state, { ...how, ...guards, dryRun: true })))
  if (options.dryRun === true) {
    if (run.json) await printPlan(run, dry, { applied: false, ...failedToJson(dry, options) })
    return { status: isSame(dry) ? STATUS.done : STATUS.differs }
  }
  const asked = takesAway(found)
  if (asked) await askFor(run, found, file, signal)
  const result = await applyPlan(found, {
    change,
    apply: (plan) => ipvs.apply(plan, { ...guards, onProgress }),
    async again(stale) {
      // Only what the person has seen.
      if (asked) throw stale
      const wanted = again === undefined ? state : await again()
      const plan = await checkedLater(ofFile(file, ipvs.plan(wanted, how)))
      if (takesAway(plan)) throw stale
      if (!run.json) {
        run.note(line`the table has changed meanwhile; this is done instead:`)
        await printPlan(run, plan)
      }
      return plan
    },
  })
  return {
    status: statusOf(result),
    async say() {
      if (run.json) await printPlan(run, result, { applied: true, ...failedToJson(result, options) })
      reportDone(run, result)
    },
  }
}

/** Shows how far an apply is. */
export function progressOf(run: Run): {
  readonly onProgress: (progress: ApplyProgress) => void
  readonly clear: () => void
} {
  const progress = run.progress()
  return {
    onProgress({ phase, done, total }) {
      progress.bar(PHASES[phase], done, total)
    },
    clear() {
      progress.clear()
    },
  }
}

/** Says what was done of what nobody has seen before. */
export async function sayApplied(
  run: Run,
  result: ApplyResult,
  options: Pick<ApplyCommandOptions, 'keepGoing'>,
): Promise<void> {
  await printPlan(run, result, { applied: true, ...failedToJson(result, options) })
  reportDone(run, result)
}

/** Whether an apply has done anything. */
export function hasChanged(result: ApplyResult): boolean {
  return stepsDone(result).length > 0
}

function statusOf({ failed }: ApplyResult): number {
  return failed.length === 0 ? STATUS.done : STATUS.failed
}

function stepsDone({ steps, failed }: ApplyResult): readonly Step[] {
  const without = new Set(failed.map(({ step }) => step))
  return steps.filter((step) => !without.has(step))
}

/** Says what was done, and which steps failed. Programs find both in the result. */
function reportDone(run: Run, result: ApplyResult): void {
  const { steps, absentSysctls, failed } = result
  if (run.json) return
  run.out.line(doneLine(stepsDone(result)))
  if (failed.length === 0) return
  for (const one of failed) run.complain({ status: STATUS.failed, message: failureText(one) })
  const total = steps.length + absentSysctls.length
  const done = total - failed.length
  run.complain({
    status: STATUS.failed,
    message: `${String(done)} of ${String(total)} steps done, ${String(failed.length)} failed or skipped`,
  })
}

function failureText({ step, error }: FailedStep): string {
  const reason = inCommandWords(error?.message ?? 'something else has changed this meanwhile')
  // An error of the kernel names what it is about.
  return error instanceof IpvsError ? reason : `${stepName(step)}: ${reason}`
}

/** 'delete-server tcp/192.0.2.10:80 -> 10.0.0.7:8080' */
function stepName(step: Step): string {
  if (!('service' in step)) return step.kind
  const server = 'server' in step ? ` -> ${formatEndpoint(step.server)}` : ''
  return `${step.kind} ${formatServiceKey(step.service)}${server}`
}

function failedToJson(
  { failed }: ApplyResult,
  { keepGoing }: Pick<ApplyCommandOptions, 'keepGoing'>,
): object {
  if (keepGoing !== true) return {}
  return {
    failed: failed.map((one) => ({
      step: one.step,
      ...(one.error instanceof IpvsError && { code: one.error.code }),
      message: failureText(one),
      ...(one.unknown === true && { unknown: true }),
    })),
  }
}

const PHASES: Readonly<Record<ApplyProgress['phase'], string>> = {
  apply: 'applying',
  drain: 'draining',
  'roll-back': 'undoing',
}

/** Whether anything will be gone afterwards: a daemon that is replaced will not. */
function takesAway({ steps, deletions }: Differences): boolean {
  return (
    deletions > 0 ||
    steps.some(
      (step) =>
        step.kind === 'stop-daemon' &&
        !steps.some((other) => other.kind === 'start-daemon' && other.state === step.state),
    )
  )
}

/** Asks whether to go on, if there is somebody to ask. */
async function askFor(run: Run, found: Differences, file: string, signal: AbortSignal): Promise<void> {
  const { stdin } = run.surroundings
  const loss = lossOf(found)
  if (stdin.isTTY !== true || !run.err.isTerminal || file === STDIN || run.json) {
    throw new Refused(
      `this ${loss}, and there is nobody to ask: give --yes if that is intended; nothing was changed`,
    )
  }
  const answer = await ask(`This ${loss}. Go on? [y/N] `, stdin, run.err, signal)
  signal.throwIfAborted()
  if (answer !== 'yes') throw new Refused('nothing was changed')
}

/** The loss that a plan means: 'deletes 1 service and 2 real servers'. */
function lossOf({ steps, deletions }: Differences): string {
  const services = steps.filter(({ kind }) => kind === 'delete-service').length
  const count = (number: number, thing: string): string[] => (number === 0 ? [] : [counted(number, thing)])
  const parts = [...count(services, 'service'), ...count(deletions - services, 'real server')]
  return parts.length === 0 ? 'stops a sync daemon' : `deletes ${parts.join(' and ')}`
}
