import { endpointName, serviceName } from '../model/keys.ts'
import type {
  Endpoint,
  RealServerSpec,
  ServiceKey,
  ServiceSpec,
  StateService,
  SyncDaemonSpec,
  SyncDaemonState,
  TimeoutChanges,
} from '../model/types.ts'

/**
 * One change of a director: what is, and what will be. Both are complete, with
 * the defaults spelt out, as the kernel reads back. What has no `before` is not
 * there yet, and what has no `after` will not be there any more.
 */
export type Step =
  | {
      readonly kind: 'add-service'
      readonly service: ServiceKey
      readonly after: ServiceSpec
      /**
       * The service that this one replaces, and that is deleted: another port of
       * the same protocol and address, or the same mark of the other family. The
       * identity of a service cannot be edited.
       */
      readonly replaces?: ServiceKey | undefined
    }
  | {
      readonly kind: 'edit-service'
      readonly service: ServiceKey
      readonly before: ServiceSpec
      readonly after: ServiceSpec
    }
  /** Its real servers go with it: they are in `before`, and have no steps of their own. */
  | { readonly kind: 'delete-service'; readonly service: ServiceKey; readonly before: StateService }
  | {
      readonly kind: 'add-server'
      readonly service: ServiceKey
      readonly server: Endpoint
      readonly after: RealServerSpec
      /**
       * The server that this one replaces, and that is deleted: another port of
       * the same address, or one of the other family. Address and port cannot be edited.
       */
      readonly replaces?: Endpoint | undefined
    }
  | {
      readonly kind: 'edit-server'
      readonly service: ServiceKey
      readonly server: Endpoint
      readonly before: RealServerSpec
      readonly after: RealServerSpec
    }
  | {
      readonly kind: 'delete-server'
      readonly service: ServiceKey
      readonly server: Endpoint
      readonly before: RealServerSpec
    }
  /** Only the timeouts that change. */
  | {
      readonly kind: 'set-timeouts'
      readonly before: TimeoutChanges
      readonly after: TimeoutChanges
    }
  | {
      readonly kind: 'start-daemon'
      readonly state: SyncDaemonState
      readonly after: SyncDaemonSpec
      /** The one that was stopped for it: a running daemon cannot be edited. */
      readonly replaces?: SyncDaemonSpec | undefined
    }
  | { readonly kind: 'stop-daemon'; readonly state: SyncDaemonState; readonly before: SyncDaemonSpec }
  | {
      readonly kind: 'set-sysctl'
      readonly name: string
      /** Empty for one that this kernel does not have, among the failed steps of an apply. */
      readonly before: string
      readonly after: string
    }

/**
 * A step as `runSteps()` takes it: `before`, which says what is there, may be left out, and the service and the real
 * server may be text, as `parseServiceKey()` and `parseEndpoint()` read it.
 */
export type RunnableStep<S = Step> = S extends unknown
  ? {
      readonly [Name in keyof S as Exclude<Name, 'before'>]:
        S[Name] | (Name extends 'service' | 'server' ? string : never)
    }
  : never

/** A step to send, which has been checked. */
export type CheckedStep<S = Step> = S extends unknown ? Omit<S, 'before'> : never

/** The kinds of steps there are. */
export type StepKind = Step['kind']

/** All of them: one that is forgotten does not compile. */
export const STEP_KINDS: readonly StepKind[] = Object.keys({
  'add-service': true,
  'edit-service': true,
  'delete-service': true,
  'add-server': true,
  'edit-server': true,
  'delete-server': true,
  'set-timeouts': true,
  'start-daemon': true,
  'stop-daemon': true,
  'set-sysctl': true,
} satisfies Record<StepKind, true>) as StepKind[]

/** A text for the thing that a step changes, the same for every step about it. */
export function subjectOf(step: Step): string {
  switch (step.kind) {
    case 'add-service':
    case 'edit-service':
    case 'delete-service':
      return serviceName(step.service)
    case 'add-server':
    case 'edit-server':
    case 'delete-server':
      return serverSubject(serviceName(step.service), step.server)
    case 'set-timeouts':
      return 'timeouts'
    case 'start-daemon':
    case 'stop-daemon':
      return `${step.state} sync daemon`
    case 'set-sysctl':
      return `sysctl ${step.name}`
  }
}

/** Between a service and its real server. */
export const SERVER_SIGN = ' -> '

export function serverSubject(service: string, { address, port }: Endpoint): string {
  return `${service}${SERVER_SIGN}${endpointName(address, port)}`
}

/** The steps that bring back what was before a step. */
export function invert(step: Step): readonly Step[] {
  switch (step.kind) {
    case 'add-service':
      return [{ kind: 'delete-service', service: step.service, before: step.after }]
    case 'delete-service': {
      const { realServers = [], ...after } = step.before
      return [{ kind: 'add-service', service: step.service, after }, ...additions(step.service, realServers)]
    }
    case 'add-server':
      return [{ kind: 'delete-server', service: step.service, server: step.server, before: step.after }]
    case 'delete-server':
      return [{ kind: 'add-server', service: step.service, server: step.server, after: step.before }]
    case 'start-daemon':
      return [{ kind: 'stop-daemon', state: step.state, before: step.after }]
    case 'stop-daemon':
      return [{ kind: 'start-daemon', state: step.state, after: step.before }]
    case 'edit-service':
      return [{ ...step, before: step.after, after: step.before }]
    case 'edit-server':
      return [{ ...step, before: step.after, after: step.before }]
    case 'set-timeouts':
      return [{ ...step, before: step.after, after: step.before }]
    case 'set-sysctl':
      return [{ ...step, before: step.after, after: step.before }]
  }
}

/** Whether a step takes the weight of a real server. */
export function quiesces(step: Step): boolean {
  return step.kind === 'edit-server' && step.after.weight === 0 && step.before.weight !== 0
}

/** Adds real servers so that they are listed in this order: the kernel puts the newest in front. */
function additions(service: ServiceKey, servers: readonly RealServerSpec[]): Step[] {
  return [...servers].reverse().map((after) => addition(service, after))
}

export function addition(
  service: ServiceKey,
  after: RealServerSpec,
): Extract<Step, { readonly kind: 'add-server' }> {
  return {
    kind: 'add-server',
    service,
    server: { address: after.address, port: after.port ?? 0 },
    after,
  }
}
