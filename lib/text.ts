export {
  formatEndpoint,
  formatServiceKey,
  formatTunnel,
  parseEndpoint,
  parseServiceKey,
} from './model/keys.ts'
export { compareEndpoints, compareServiceKeys } from './model/order.ts'
export type { StateLoss } from './ipvsadm/format-state.ts'
export type { Lookups } from './ipvsadm/endpoints.ts'
export { formatState, type FormatStateOptions } from './text/format.ts'
export { parseState, type ParseStateOptions } from './text/parse.ts'
export { detectStateFormat } from './text/recognise.ts'
export { type StateFormat, StateSyntaxError, type StateSyntaxErrorDetails } from './text/syntax-error.ts'
export type {
  AddressServiceKey,
  Endpoint,
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
  TimeoutChanges,
  Timeouts,
  Tunnel,
} from './model/types.ts'
