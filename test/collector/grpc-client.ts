import {
  compressionAlgorithms,
  credentials,
  makeGenericClientConstructor,
  Metadata,
  type ChannelCredentials,
  type ServiceError,
} from "@grpc/grpc-js";

const SERVICE = {
  traces: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
  logs: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
  metrics: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
  profiles: "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
} as const;

export interface Answer {
  code: number;
  details: string;
  /** The response message; empty when the call failed. */
  body: Uint8Array;
  trailers: Metadata;
}

export interface GrpcClient {
  call(signal: keyof typeof SERVICE, body: Uint8Array, options?: { headers?: Record<string, string> }): Promise<Answer>;
  close(): void;
}

/** A client of another make than the server: the gRPC library that OpenTelemetry's own exporters use, with messages as bytes. */
export function connectGrpc(port: number, options: { compression?: "gzip"; channel?: ChannelCredentials } = {}): GrpcClient {
  const bytes = (value: Uint8Array): Buffer => Buffer.from(value);
  const plain = (value: Buffer): Uint8Array => value;
  const methods = Object.fromEntries(
    Object.entries(SERVICE).map(([name, path]) => [
      name,
      {
        path,
        requestStream: false,
        responseStream: false,
        requestSerialize: bytes,
        requestDeserialize: plain,
        responseSerialize: bytes,
        responseDeserialize: plain,
      },
    ]),
  );
  const Client = makeGenericClientConstructor(methods, "Otlp");
  const client = new Client(`127.0.0.1:${port}`, options.channel ?? credentials.createInsecure(), {
    "grpc.default_compression_algorithm": options.compression === "gzip" ? compressionAlgorithms.gzip : compressionAlgorithms.identity,
    "grpc.enable_retries": 0,
  });
  return {
    call: (signal, body, { headers = {} } = {}) => {
      const metadata = new Metadata();
      for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
      return new Promise((resolve) => {
        const answer: Answer = { code: 0, details: "", body: new Uint8Array(), trailers: new Metadata() };
        const method = client[signal] as unknown as Unary;
        const call = method.call(client, body, metadata, (error, response) => {
          if (error !== null) resolve({ ...answer, code: error.code, details: error.details, trailers: error.metadata });
          else resolve({ ...answer, body: response ?? answer.body });
        });
        call.on("error", () => {});
      });
    },
    close: () => client.close(),
  };
}

type Unary = (
  body: Uint8Array,
  metadata: Metadata,
  callback: (error: ServiceError | null, response?: Uint8Array) => void,
) => { on(event: "error", listener: () => void): void };
