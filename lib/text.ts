export { formatEndpoint, formatServiceKey, parseEndpoint, parseServiceKey } from './text/keys.ts'
export type { StateLoss } from './text/format-ipvsadm.ts'
export type { Lookups } from './text/ipvsadm-endpoints.ts'
export {
  detectStateFormat,
  formatState,
  type FormatStateOptions,
  parseState,
  type ParseStateOptions,
} from './text/state.ts'
export { type StateFormat, StateSyntaxError, type StateSyntaxErrorDetails } from './text/syntax-error.ts'
export type {
  AddressServiceKey,
  Family,
  ForwardingMethod,
  FwmarkServiceKey,
  PersistenceSpec,
  Protocol,
  RealServerKey,
  RealServerSettings,
  RealServerSpec,
  Scheduler,
  SchedulerFlag,
  ServiceKey,
  ServiceSettings,
  ServiceSpec,
  State,
  StateService,
  SyncDaemonSpec,
  SyncDaemonState,
  Timeouts,
  Tunnel,
} from './types.ts'
