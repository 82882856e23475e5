import { serviceName } from '../model/keys.ts'
import type { Access } from '../session/access.ts'
import type { Session } from '../session/session.ts'
import type { Comparison } from '../state/goal.ts'
import { type Present, presentOf } from '../state/present.ts'
import { serverSubject, type Step } from '../state/steps.ts'
import type { Parts } from '../state/table.ts'
import { slices } from '../util/pace.ts'
import { whileAnyOf } from '../util/signals.ts'
import { isGone, waitForAll } from './drain.ts'
import { errorOf, type FailedStep, stale, StepFailure } from './errors.ts'
import type { ApplyOptions, ApplyProgress } from './options.ts'
import { type LeavingServer, quiesce, refuseStarved, serversLeaving, stillToRemove } from './removals.ts'
import { inverseOf } from './roll-back.ts'

/** Steps per lot. Between two lots the JS thread is free, and a signal is noticed. */
const LOT = 512

/** The steps of one apply: which were sent, and how they are undone. */
export class Transaction {
  readonly #options: ApplyOptions
  readonly #parts: Parts
  readonly #keepWeights: boolean
  /** How many steps are planned, and how many of those are done. */
  readonly #total: number
  #done = 0
  /** Steps that were sent, and the errors of those that failed. */
  readonly #sent: Step[] = []
  readonly #errors = new Map<Step, Error>()
  /** Those of them that set a server to weight 0 which is about to be deleted. */
  readonly #quiescing = new Set<Step>()
  /** With `keepGoing`: steps that failed or were skipped. */
  readonly failed: FailedStep[] = []

  constructor(
    options: ApplyOptions,
    parts: Parts,
    { keepWeights }: Pick<Comparison, 'keepWeights'>,
    total: number,
  ) {
    this.#options = options
    this.#parts = parts
    this.#keepWeights = keepWeights
    this.#total = total
  }

  /** Runs steps lot by lot, and throws if one fails. */
  async run(access: Access, steps: readonly Step[]): Promise<void> {
    const { signal, onProgress } = this.#options
    for (let from = 0; from < steps.length; from += LOT) {
      signal?.throwIfAborted()
      const lot = steps.slice(from, from + LOT)
      const outcomes = await send(access, lot)
      let failed: FailedStep | undefined
      for (const [index, step] of lot.entries()) {
        const error = outcomes[index]
        this.#sent.push(step)
        if (error === undefined) continue
        this.#errors.set(step, error)
        if (this.#isGoneAlready(step, error)) continue
        if (this.#options.keepGoing === true) this.failed.push({ step, error })
        else failed ??= { step, error }
      }
      if (failed !== undefined) throw new StepFailure(failed)
      // The steps of quiesce() are not in the plan, so the total does not count them.
      this.#done += lot.filter((step) => !this.#quiescing.has(step)).length
      onProgress?.({ phase: 'apply', done: this.#done, total: this.#total })
    }
  }

  /** The steps that take something away, except those of services with a failed step. */
  withoutFailed(steps: readonly Step[]): readonly Step[] {
    if (this.failed.length === 0) return steps
    const incomplete = new Set<string>()
    for (const { step } of this.failed) {
      if ('service' in step) incomplete.add(serviceName(step.service))
      if (step.kind === 'add-service' && step.replaces !== undefined) {
        incomplete.add(serviceName(step.replaces))
      }
    }
    return steps.filter((step) => {
      if (!('service' in step) || !incomplete.has(serviceName(step.service))) return true
      const error = new Error('skipped, because another step of this service failed')
      this.failed.push({ step, error })
      return false
    })
  }

  /** Does something, and if that fails undoes everything. */
  async guarded(access: Access, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      throw await this.#rollBack(access, error)
    }
  }

  /** Sets the servers that are about to be deleted to weight 0, so that a drain can wait for their connections to end. */
  async quiesce(access: Access, removals: readonly Step[]): Promise<void> {
    const steps: Step[] = []
    for await (const some of slices(await serversLeaving(removals))) {
      for (const { service, server, before } of some) {
        if (before.weight === 0) continue
        const step: Step = { kind: 'edit-server', service, server, before, after: quiesce(before) }
        steps.push(step)
        this.#quiescing.add(step)
      }
    }
    await this.run(access, steps)
  }

  /** Waits until the servers that are about to be deleted have no connections, and deletes them. */
  async drainAndRemove(
    session: Session,
    removals: readonly Step[],
    options: NonNullable<ApplyOptions['drain']>,
    ending: AbortSignal,
  ): Promise<void> {
    let failure: { readonly cause: unknown } | undefined
    try {
      await this.#drain(session, await serversLeaving(removals), options, ending)
    } catch (cause) {
      failure = { cause }
    }
    const { signal, force } = this.#options
    await session.exclusive('apply', (access) => {
      let waiting = true
      const finish = (failure?: { readonly cause: unknown }): Promise<void> => {
        waiting = false
        return this.guarded(access, async () => {
          if (failure !== undefined) throw failure.cause
          signal?.throwIfAborted()
          const table = await access.read(this.#parts)
          const left = await stillToRemove(removals, table)
          if (force !== true) await refuseStarved(left, this.#quiescing, table)
          await this.run(access, left)
        })
      }
      return whileAnyOf([signal, ending], (joined) =>
        session.locked(() => finish(failure), joined.signal),
      ).catch((cause: unknown) => {
        // What was done is undone in any case, without the lock if another process does not give it.
        if (waiting) return finish({ cause })
        throw cause
      })
    })
  }

  async #drain(
    session: Session,
    leaving: readonly LeavingServer[],
    options: NonNullable<ApplyOptions['drain']>,
    ending: AbortSignal,
  ): Promise<void> {
    if (leaving.length === 0) return
    const { signal, onProgress } = this.#options
    let done = 0
    await whileAnyOf([signal, ending], (joined) =>
      waitForAll(session, leaving, { ...options, signal: joined.signal }, ({ service, server }, outcome) => {
        if (outcome === 'overruled') {
          throw stale(
            `${serverSubject(serviceName(service), server)} was given a weight again during the drain`,
          )
        }
        done += 1
        onProgress?.({ phase: 'drain', done, total: leaving.length })
      }),
    )
  }

  /** Undoes what was done, in reverse, and returns the error that says so. */
  async #rollBack(access: Access, cause: unknown): Promise<unknown> {
    const now = await this.#presentNow(access)
    const { inverse, notUndone } = await inverseOf(
      this.#sent,
      this.#errors,
      this.#quiescing,
      now,
      this.#keepWeights,
    )
    const failures = new Map<Step, Error>()
    for (let from = 0; from < inverse.length; from += LOT) {
      const lot = inverse.slice(from, from + LOT)
      const outcomes = await send(
        access,
        lot.map(({ step }) => step),
      )
      for (const [index, { step, of }] of lot.entries()) {
        const error = outcomes[index]
        if (error !== undefined && !this.#isGoneAlready(step, error)) failures.set(of, error)
      }
      this.#report({ phase: 'roll-back', done: Math.min(from + LOT, inverse.length), total: inverse.length })
    }
    const undone: Step[] = []
    const left = [...notUndone]
    let last: Step | undefined
    for await (const some of slices(inverse)) {
      for (const { of: step } of some) {
        // A service that is added again takes more than one step.
        if (step === last) continue
        last = step
        const error = failures.get(step)
        if (error === undefined) undone.push(step)
        else left.push({ step, error })
      }
    }
    return errorOf(cause, undone, left)
  }

  /** The parts of the table that steps can change, as they are now; `undefined` if they cannot be read. */
  async #presentNow(access: Access): Promise<ReadonlyMap<string, Present> | undefined> {
    if (this.#sent.length === 0) return undefined
    try {
      return await presentOf(await access.read(this.#parts))
    } catch {
      // The table cannot be read: the answers alone decide.
      return undefined
    }
  }

  /** Whether undoing a step failed only because its object is already gone. */
  #isGoneAlready(step: Step, error: Error): boolean {
    const deletes = 'before' in step && !('after' in step)
    if (!deletes && !this.#quiescing.has(step)) return false
    return isGone(error)
  }

  /** Signals and callbacks do not interrupt a roll-back. */
  #report(progress: ApplyProgress): void {
    try {
      this.#options.onProgress?.(progress)
    } catch {
      // The caller gets the error that led here.
    }
  }
}

/** The outcome of each step. If sending itself fails, nobody knows how far it got, and all have that error. */
async function send(access: Access, steps: readonly Step[]): Promise<readonly (Error | undefined)[]> {
  try {
    return await access.write(steps)
  } catch (error) {
    return steps.map(() => error as Error)
  }
}
