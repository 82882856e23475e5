import type { ApplyResult, Ipvs } from '../index.ts'
import { type Interrupted, type Report, STATUS } from './exit-status.ts'
import { scopeOf } from './options.ts'
import { printPlan } from './print-plan.ts'
import type { Run } from './run.ts'
import { reloading, ServiceManager, statusLine } from './systemd.ts'
import { counted } from './words.ts'

/** What is kept, and where that stands. */
interface Kept {
  readonly file: string
  readonly netns?: string
  readonly scope?: readonly string[]
  /** Whether anything else is deleted. */
  readonly prune: boolean
  readonly intervalSeconds: number
}

/** What `ipvs reconcile` says about its runs: to people, to programs, and to systemd. */
export class ReconcileReport {
  readonly #run: Run
  readonly #ipvs: Ipvs
  readonly #kept: Kept
  readonly #service: ServiceManager
  readonly #stopKeepingAlive: () => void
  /** One run after the other. */
  #told: Promise<void> = Promise.resolve()
  /** A run has succeeded. */
  #ready = false
  /** In a row. */
  #failures = 0
  #reloads = 0
  /** What it ends with. */
  #status: number = STATUS.done
  #ending = false

  constructor(run: Run, ipvs: Ipvs, kept: Kept) {
    this.#run = run
    this.#ipvs = ipvs
    this.#kept = kept
    const { env, sendNotification } = run.surroundings
    this.#service = new ServiceManager(env, sendNotification, (text) => {
      run.note(text)
    })
    this.#stopKeepingAlive = this.#service.keepAlive()
    this.#tell(startText(kept), { keeping: kept })
    this.#service.notify(statusLine(`reading ${kept.file}`))
  }

  /** A run has ended well. */
  succeeded(result: ApplyResult): Promise<void> {
    const [first, failures] = [!this.#ready, this.#failures]
    this.#ready = true
    this.#failures = 0
    const telling = this.#told.then(() => this.#tellSuccess(result, first, failures))
    // The reconciler reports what goes wrong there as it reports a run that fails.
    this.#told = telling.catch(() => undefined)
    return telling
  }

  /** A run has failed. */
  failed(report: Report): void {
    this.#failures++
    if (this.#ending) this.#status = report.status
    this.#run.complain(report)
    this.#service.notify(statusLine(`the last run failed: ${report.message}`))
  }

  /** Somebody asks for a run. */
  async reload(runNow: () => Promise<void>): Promise<void> {
    const { file } = this.#kept
    this.#reloads++
    this.#tell(`SIGHUP: reading ${file} again`, { reading: file })
    // Before the first success systemd still waits for the start.
    if (this.#ready) this.#service.notify(...reloading())
    // A run that is not made any more needs no word.
    await runNow().catch(() => undefined)
    await this.#told
    this.#reloads--
    // Even if it failed: what was kept before still is, and the status says why.
    if (this.#ready && this.#reloads === 0) this.#service.notify('READY=1')
  }

  /** A signal ends it, perhaps in the middle of a run. */
  ending(): void {
    this.#ending = true
    this.#service.notify('STOPPING=1')
  }

  /** It has ended. Gives the exit status. */
  async ended({ message, signal }: Interrupted): Promise<number> {
    await this.#told
    this.#stopKeepingAlive()
    this.#tell(message, { ended: signal })
    return this.#status
  }

  async #tellSuccess(result: ApplyResult, first: boolean, failures: number): Promise<void> {
    const changed = result.steps.length > 0
    const asked = this.#reloads > 0
    const news = first || failures > 0 || asked
    if (changed) await printPlan(this.#run, result, { applied: true })
    if (changed || news) {
      const { services, realServers } = await this.#count()
      const text = `${counted(services, 'service')} and ${counted(realServers, 'real server')}`
      if (news) {
        const again = failures > 0 ? `works again after ${counted(failures, 'failed run')}` : 'as wanted'
        this.#tell(`${again}: ${text}`, {
          kept: { services, realServers, ...(failures > 0 && { failures }) },
        })
      }
      this.#service.notify(statusLine(`${text}, as ${this.#kept.file} says`))
    }
    // Each time, since one may be lost.
    if (this.#reloads === 0) this.#service.notify('READY=1')
  }

  /** How much there is in the table, or in the part of it that is kept. */
  async #count(): Promise<{ readonly services: number; readonly realServers: number }> {
    const { scope } = this.#kept
    const { services } = await this.#ipvs.save({
      timeouts: false,
      syncDaemons: false,
      ...(scope !== undefined && { scope: scopeOf(scope) }),
    })
    const realServers = services.reduce((sum, service) => sum + (service.realServers?.length ?? 0), 0)
    return { services: services.length, realServers }
  }

  /** Says something, which is no error, on standard error. */
  #tell(text: string, value: object): void {
    if (this.#run.json) this.#run.err.json(value)
    else this.#run.note(text)
  }
}

function startText({ file, netns, scope, prune, intervalSeconds }: Kept): string {
  const what = scope === undefined ? 'the table' : `the services inside ${scope.join(', ')}`
  const where = netns === undefined ? '' : ` of network namespace ${netns}`
  const rest = prune ? '' : '; what it does not name stays'
  return `keeping ${what}${where} as ${file} says: now, every ${String(intervalSeconds)} s, and when the file changes${rest}`
}
