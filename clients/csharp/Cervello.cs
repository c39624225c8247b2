// Client of the Cervello bridge in plain C# 7 for .NET Standard 2.0: Unity, Godot .NET, MonoGame, Mono, .NET. One file, no packages.
//
// A game calls `client.Poll()` once a frame; it never waits. Only `WaitReady` and `Pending.Wait` wait, at most as long as they are told.
// One thread at a time may use a client.
using System;
using System.Collections.Generic;
using System.IO;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Threading.Tasks;

namespace Cervello
{
    /// <summary>What went wrong: Draining (the server is going away), DeadServer, AgentsLost (after a reconnect), Timeout, Refused,
    /// Closed (by the game itself).</summary>
    public enum ErrorKind { Refused, Draining, DeadServer, AgentsLost, Timeout, Closed }

    /// <summary>An error of the bridge; the message names address, step (connect, hello or the method) and cause.</summary>
    public sealed class BridgeException : Exception
    {
        public ErrorKind Kind { get; }
        public string Address { get; }
        public string Step { get; }
        public string Cause { get; }
        /// <summary>The protocol's error code, where the server answered with one.</summary>
        public long? Code { get; }
        /// <summary>What belongs to the code: `agents` or `field`; `agents` of lost agents. May be null.</summary>
        public Dictionary<string, object> Details { get; }

        public BridgeException(ErrorKind kind, string address, string step, string cause, long? code = null,
                               Dictionary<string, object> details = null)
            : base(address + ", " + step + ": " + cause)
        {
            Kind = kind; Address = address; Step = step; Cause = cause; Code = code; Details = details;
        }
    }

    /// <summary>Bytes that are no msgpack value of the protocol.</summary>
    public sealed class BadFrameException : Exception
    {
        public BadFrameException(string what) : base(what) { }
    }

    /// <summary>msgpack as the protocol has it: null, bool, long, double, string, byte[], object[] and Dictionary of string to object.</summary>
    public static class Codec
    {
        const int MaxDepth = 8; // the message's array is level 1
        const int MaxValues = 1 << 20; // in one message: arrays of single bytes would cost many times their length
        static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);

        /// <summary>One value as msgpack in its shortest form.</summary>
        public static byte[] Encode(object value)
        {
            using (var stream = new MemoryStream())
            {
                Write(stream, value);
                return stream.ToArray();
            }
        }

        static void Big(Stream to, ulong value, int bytes)
        {
            for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) to.WriteByte((byte)(value >> shift));
        }

        static void Typed(Stream to, byte type, ulong value, int bytes)
        {
            to.WriteByte(type);
            Big(to, value, bytes);
        }

        static void Length(Stream to, int length, int small, byte smallType, byte type8, byte type16, byte type32)
        {
            if (length < small) to.WriteByte((byte)(smallType + length));
            else if (length < 256 && type8 != 0) Typed(to, type8, (ulong)length, 1);
            else if (length < 65536) Typed(to, type16, (ulong)length, 2);
            else Typed(to, type32, (ulong)length, 4);
        }

        static void Whole(Stream to, long value)
        {
            if (value >= 0)
            {
                if (value < 128) to.WriteByte((byte)value);
                else if (value < 256) Typed(to, 0xcc, (ulong)value, 1);
                else if (value < 65536) Typed(to, 0xcd, (ulong)value, 2);
                else if (value < 4294967296) Typed(to, 0xce, (ulong)value, 4);
                else Typed(to, 0xcf, (ulong)value, 8);
            }
            else if (value >= -32) to.WriteByte((byte)value);
            else if (value >= sbyte.MinValue) Typed(to, 0xd0, (ulong)value, 1);
            else if (value >= short.MinValue) Typed(to, 0xd1, (ulong)value, 2);
            else if (value >= int.MinValue) Typed(to, 0xd2, (ulong)value, 4);
            else Typed(to, 0xd3, (ulong)value, 8);
        }

        static void Write(Stream to, object value)
        {
            // a chain, since Mono's compiler has no patterns in switch
            if (value == null) to.WriteByte(0xc0);
            else if (value is bool) to.WriteByte((bool)value ? (byte)0xc3 : (byte)0xc2);
            else if (value is int) Whole(to, (int)value);
            else if (value is long) Whole(to, (long)value);
            else if (value is double) Typed(to, 0xcb, (ulong)BitConverter.DoubleToInt64Bits((double)value), 8);
            else if (value is string text)
            {
                byte[] utf8 = Utf8.GetBytes(text);
                Length(to, utf8.Length, 32, 0xa0, 0xd9, 0xda, 0xdb);
                to.Write(utf8, 0, utf8.Length);
            }
            else if (value is byte[] bytes)
            {
                Length(to, bytes.Length, 0, 0, 0xc4, 0xc5, 0xc6);
                to.Write(bytes, 0, bytes.Length);
            }
            else if (value is IReadOnlyCollection<KeyValuePair<string, object>> map)
            {
                Length(to, map.Count, 16, 0x80, 0, 0xde, 0xdf);
                foreach (var pair in map) { Write(to, pair.Key); Write(to, pair.Value); }
            }
            else if (value is IReadOnlyCollection<KeyValuePair<string, byte[]>> rows)
            {
                Length(to, rows.Count, 16, 0x80, 0, 0xde, 0xdf);
                foreach (var pair in rows) { Write(to, pair.Key); Write(to, pair.Value); }
            }
            else if (value is long[] numbers)
            {
                Length(to, numbers.Length, 16, 0x90, 0, 0xdc, 0xdd);
                foreach (long number in numbers) Whole(to, number);
            }
            else if (value is IReadOnlyCollection<object> list) // of strings too
            {
                Length(to, list.Count, 16, 0x90, 0, 0xdc, 0xdd);
                foreach (object item in list) Write(to, item);
            }
            else throw new ArgumentException("value: expected null, bool, int, long, double, string, byte[], a list or a map, got "
                                             + value.GetType());
        }

        /// <summary>The value of a body.</summary>
        /// <exception cref="BadFrameException">Not one msgpack value of the protocol. Lengths are checked before memory is taken.</exception>
        public static object Decode(byte[] body)
        {
            return Decode(body, 0, body.Length);
        }

        internal static object Decode(byte[] bytes, int start, int length)
        {
            var reader = new Reader { Bytes = bytes, At = start, End = start + length };
            object value = reader.Value(1);
            if (reader.At != reader.End) throw new BadFrameException("bytes behind the message");
            return value;
        }

        sealed class Reader
        {
            internal byte[] Bytes;
            internal int At, End;
            int values;

            int Take(long count)
            {
                if (count > End - At) throw new BadFrameException("cut off");
                At += (int)count;
                return At - (int)count;
            }

            ulong Big(int count)
            {
                int from = Take(count);
                ulong value = 0;
                for (int at = from; at < from + count; ++at) value = value << 8 | Bytes[at];
                return value;
            }

            string Text(long count)
            {
                int from = Take(count);
                try { return Utf8.GetString(Bytes, from, (int)count); }
                catch (ArgumentException) { throw new BadFrameException("a str that is not UTF-8"); }
            }

            byte[] Bin(long count)
            {
                int from = Take(count);
                var out_ = new byte[count];
                Buffer.BlockCopy(Bytes, from, out_, 0, (int)count);
                return out_;
            }

            void Enter(long values, int depth)
            {
                if (depth > MaxDepth) throw new BadFrameException("nested deeper than " + MaxDepth);
                if (values > End - At) throw new BadFrameException("an array or map longer than its message");
                this.values += (int)values;
                if (this.values > MaxValues) throw new BadFrameException("more than " + MaxValues + " values");
            }

            object[] List(long count, int depth)
            {
                Enter(count, depth);
                var list = new object[count];
                for (int at = 0; at < count; ++at) list[at] = Value(depth + 1);
                return list;
            }

            Dictionary<string, object> Map(long count, int depth)
            {
                Enter(2 * count, depth);
                var map = new Dictionary<string, object>();
                for (int at = 0; at < count; ++at)
                {
                    if (!(Value(depth + 1) is string key)) throw new BadFrameException("a map key that is no str");
                    if (map.ContainsKey(key)) throw new BadFrameException("the key " + key + " twice");
                    map[key] = Value(depth + 1);
                }
                return map;
            }

            internal object Value(int depth)
            {
                byte type = Bytes[Take(1)];
                if (type < 0x80) return (long)type;
                if (type >= 0xe0) return (long)(sbyte)type;
                if (type < 0x90) return Map(type - 0x80, depth);
                if (type < 0xa0) return List(type - 0x90, depth);
                if (type < 0xc0) return Text(type - 0xa0);
                switch (type)
                {
                    case 0xc0: return null;
                    case 0xc1: throw new BadFrameException("the byte 0xc1");
                    case 0xc2: return false;
                    case 0xc3: return true;
                    case 0xc4: return Bin((long)Big(1));
                    case 0xc5: return Bin((long)Big(2));
                    case 0xc6: return Bin((long)Big(4));
                    case 0xca: return (double)BitConverter.ToSingle(BitConverter.GetBytes((uint)Big(4)), 0);
                    case 0xcb: return BitConverter.Int64BitsToDouble((long)Big(8));
                    case 0xcc: return (long)Big(1);
                    case 0xcd: return (long)Big(2);
                    case 0xce: return (long)Big(4);
                    case 0xcf:
                        ulong large = Big(8);
                        if (large > long.MaxValue) throw new BadFrameException("an integer over 2^63 - 1");
                        return (long)large;
                    case 0xd0: return (long)(sbyte)Big(1);
                    case 0xd1: return (long)(short)Big(2);
                    case 0xd2: return (long)(int)Big(4);
                    case 0xd3: return (long)Big(8);
                    case 0xd9: return Text((long)Big(1));
                    case 0xda: return Text((long)Big(2));
                    case 0xdb: return Text((long)Big(4));
                    case 0xdc: return List((long)Big(2), depth);
                    case 0xdd: return List((long)Big(4), depth);
                    case 0xde: return Map((long)Big(2), depth);
                    case 0xdf: return Map((long)Big(4), depth);
                    default: throw new BadFrameException("an ext type");
                }
            }
        }
    }

    /// <summary>Rows of numbers as the bytes of a tensor and back. The machine must be little-endian, as all that Unity runs on are.</summary>
    public static class Rows
    {
        /// <summary>The bytes of float[], double[], int[], long[], short[], sbyte[], their unsigned forms, or bool[].</summary>
        public static byte[] Pack(Array values)
        {
            var bytes = new byte[Buffer.ByteLength(values)];
            Buffer.BlockCopy(values, 0, bytes, 0, bytes.Length);
            return bytes;
        }

        /// <summary>The numbers of a tensor's bytes, row after row; T is the C# type of the dtype in `spec`.</summary>
        public static T[] Unpack<T>(object bytes) where T : struct
        {
            var from = (byte[])bytes;
            int size = Buffer.ByteLength(new T[1]);
            if (from.Length % size != 0) throw new ArgumentException("bytes: expected a multiple of " + size + ", got " + from.Length);
            var values = new T[from.Length / size];
            Buffer.BlockCopy(from, 0, values, 0, from.Length);
            return values;
        }
    }

    /// <summary>How a client connects.</summary>
    public sealed class ClientOptions
    {
        /// <summary>Streams of agents are derived from it, 1 to 256 bytes.</summary>
        public string Name = "csharp";
        public string Token;
        /// <summary>The longest body that this client takes; without it the server's limit.</summary>
        public int? FrameBytes;
        /// <summary>Seconds for connect and hello together.</summary>
        public double ConnectTimeout = 5;
    }

    /// <summary>A reply that may not have come yet.</summary>
    public sealed class Pending
    {
        readonly Client client;
        internal readonly string Method;
        internal Action<Dictionary<string, object>> OnResult;
        internal Dictionary<string, object> Reply;

        internal Pending(Client client, string method) { this.client = client; Method = method; }

        public BridgeException Error { get; internal set; }
        public bool Done => Reply != null || Error != null;

        /// <summary>The reply; throws its error, or InvalidOperationException where neither has come.</summary>
        public Dictionary<string, object> Result
        {
            get
            {
                if (Error != null) throw Error;
                return Reply ?? throw new InvalidOperationException(Method + ": no reply yet; poll the client, or wait");
            }
        }

        /// <summary>Polls until the reply has come. After a time-out it may still come.</summary>
        public Dictionary<string, object> Wait(double seconds)
        {
            DateTime end = DateTime.UtcNow.AddSeconds(seconds);
            while (!Done)
            {
                double left = (end - DateTime.UtcNow).TotalSeconds;
                if (left <= 0) throw client.MakeError(ErrorKind.Timeout, Method, "no reply within " + Math.Round(seconds * 1000) + " ms");
                client.Poll(left);
            }
            return Result;
        }
    }

    /// <summary>One connection.</summary>
    public sealed class Client : IDisposable
    {
        enum State { Connecting, Hello, Ready, Closed }

        const int DefaultFrameBytes = 16 << 20;
        readonly ClientOptions options;
        readonly string host;
        readonly int port;
        readonly Dictionary<string, HashSet<long>> begun = new Dictionary<string, HashSet<long>>();
        readonly Dictionary<string, HashSet<long>> lost = new Dictionary<string, HashSet<long>>();
        readonly Dictionary<long, Pending> inFlight = new Dictionary<long, Pending>();
        readonly Queue<byte[]> sending = new Queue<byte[]>();
        State state = State.Closed;
        BridgeException failure;
        Task<Socket> connecting;
        Socket socket;
        DateTime deadline;
        byte[] received = new byte[65536];
        int receivedBytes, sentOfFirst, sendLimit, frameLimit;
        long nextId;

        public string Address { get; }
        /// <summary>The reply to hello: version, server, server_id, limits, roles, policies. Null before it has come.</summary>
        public Dictionary<string, object> Server { get; private set; }
        public bool IsReady => state == State.Ready;
        public bool IsClosed => state == State.Closed;
        /// <summary>Why the connection has ended, else null.</summary>
        public BridgeException Failure => failure;

        /// <summary>Starts to connect to tcp://host:port and returns at once.</summary>
        public Client(string address, ClientOptions options = null)
        {
            Address = address;
            this.options = options ?? new ClientOptions();
            int colon = address.LastIndexOf(':');
            if (!address.StartsWith("tcp://") || colon < 6 || !int.TryParse(address.Substring(colon + 1), out port))
                throw new ArgumentException("address: expected tcp://host:port, got " + address);
            host = address.Substring(6, colon - 6).Trim('[', ']');
            Start();
        }

        internal BridgeException MakeError(ErrorKind kind, string step, string cause, long? code = null, Dictionary<string, object> details = null)
        {
            return new BridgeException(kind, Address, step, cause, code, details);
        }

        void Start()
        {
            state = State.Connecting;
            failure = null;
            Server = null;
            receivedBytes = sentOfFirst = 0;
            nextId = 0;
            frameLimit = options.FrameBytes ?? DefaultFrameBytes;
            sendLimit = DefaultFrameBytes;
            deadline = DateTime.UtcNow.AddSeconds(options.ConnectTimeout);
            connecting = Task.Run(() => Connect(host, port)); // names are looked up there too, which may take seconds
        }

        static Socket Connect(string host, int port)
        {
            Exception last = null;
            foreach (IPAddress address in Dns.GetHostAddresses(host))
            {
                var made = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                try
                {
                    made.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
                    made.Connect(address, port);
                    made.Blocking = false;
                    return made;
                }
                catch (SocketException error)
                {
                    made.Dispose();
                    last = error;
                }
            }
            throw last ?? new SocketException((int)SocketError.HostNotFound);
        }

        /// <summary>Connects again after the connection has ended. Agents that had begun are lost until they begin again.</summary>
        public void Reconnect()
        {
            if (state != State.Closed) throw new InvalidOperationException("Reconnect: expected a closed connection, got one that is " + state);
            foreach (var pair in begun) Of(lost, pair.Key).UnionWith(pair.Value);
            begun.Clear();
            Start();
        }

        static HashSet<long> Of(Dictionary<string, HashSet<long>> sets, string policy)
        {
            if (!sets.TryGetValue(policy, out HashSet<long> found)) sets[policy] = found = new HashSet<long>();
            return found;
        }

        internal void Began(string policy, IEnumerable<long> agents) { Of(begun, policy).UnionWith(agents); }
        internal void Ended(string policy, IEnumerable<long> agents) { Of(begun, policy).ExceptWith(agents); }

        /// <summary>Polls until requests can be sent, at most ConnectTimeout; throws what went wrong.</summary>
        public void WaitReady()
        {
            while (state == State.Connecting || state == State.Hello) Poll(Math.Max(0, (deadline - DateTime.UtcNow).TotalSeconds));
            if (state != State.Ready) throw failure;
        }

        /// <summary>Closes the connection; the server ends its agents.</summary>
        public void Dispose()
        {
            if (state != State.Closed) Close(ErrorKind.Closed, "closed by this client");
        }

        void Close(ErrorKind kind, string cause, long? code = null, Dictionary<string, object> details = null)
        {
            string step = state == State.Connecting ? "connect" : state == State.Hello ? "hello" : "poll";
            state = State.Closed;
            failure = MakeError(kind, step, cause, code, details);
            socket?.Dispose();
            socket = null;
            connecting?.ContinueWith(late =>
            {
                if (late.Status == TaskStatus.RanToCompletion) late.Result.Dispose();
                else { var _ = late.Exception; } // looked at, so that it counts as handled
            });
            connecting = null;
            foreach (Pending each in inFlight.Values) each.Error = MakeError(kind, each.Method, cause, code, details);
            inFlight.Clear();
            sending.Clear();
        }

        // The message's array is written here, since parameters keep their order.
        void Send(int kind, long id, string method, List<KeyValuePair<string, object>> parameters)
        {
            byte[] body = Codec.Encode(kind == 0 ? new object[] { 0L, id, method, new object[] { parameters } }
                                                 : new object[] { (long)kind, method, new object[] { parameters } });
            if (body.Length > sendLimit)
                throw new ArgumentException(method + ": expected a frame of at most " + sendLimit + " bytes, got " + body.Length);
            var frame = new byte[4 + body.Length];
            for (int at = 0; at < 4; ++at) frame[at] = (byte)(body.Length >> 8 * at);
            Buffer.BlockCopy(body, 0, frame, 4, body.Length);
            sending.Enqueue(frame);
            Flush();
        }

        Pending Ask(string method, List<KeyValuePair<string, object>> parameters, Action<Dictionary<string, object>> onResult)
        {
            while (inFlight.ContainsKey(nextId)) nextId = (nextId + 1) & uint.MaxValue;
            long id = nextId;
            nextId = (id + 1) & uint.MaxValue;
            var pending = new Pending(this, method) { OnResult = onResult };
            inFlight[id] = pending;
            try { Send(0, id, method, parameters); }
            catch { inFlight.Remove(id); throw; }
            return pending;
        }

        /// <summary>Parameters in order; null ones are left out.</summary>
        internal static List<KeyValuePair<string, object>> Parameters(params object[] keysAndValues)
        {
            var list = new List<KeyValuePair<string, object>>();
            for (int at = 0; at < keysAndValues.Length; at += 2)
                if (keysAndValues[at + 1] != null) list.Add(new KeyValuePair<string, object>((string)keysAndValues[at], keysAndValues[at + 1]));
            return list;
        }

        internal Pending Request(string method, List<KeyValuePair<string, object>> parameters, Action<Dictionary<string, object>> onResult = null,
                                 string policy = null, ICollection<long> agents = null, bool begins = false)
        {
            BridgeException refusal = Refusal(method, policy, agents, begins);
            return refusal == null ? Ask(method, parameters, onResult) : new Pending(this, method) { Error = refusal };
        }

        internal void Notify(string method, List<KeyValuePair<string, object>> parameters, string policy, ICollection<long> agents)
        {
            BridgeException refusal = Refusal(method, policy, agents, false);
            if (refusal != null) throw refusal;
            Send(2, 0, method, parameters);
        }

        // Why a message cannot be sent: no connection, or agents that were lost with an earlier one.
        BridgeException Refusal(string method, string policy, ICollection<long> agents, bool begins)
        {
            if (state == State.Closed) return MakeError(failure.Kind, method, failure.Cause, failure.Code);
            if (state != State.Ready)
                throw new InvalidOperationException(method + ": the client is not ready; call WaitReady, or Poll until IsReady");
            if (policy == null || agents == null || !lost.TryGetValue(policy, out HashSet<long> gone)) return null;
            if (begins) gone.ExceptWith(agents);
            var named = new List<object>();
            foreach (long agent in agents) if (gone.Contains(agent)) named.Add(agent);
            if (named.Count == 0) return null;
            return MakeError(ErrorKind.AgentsLost, method, named.Count + " agents were lost with the connection; begin them again", null,
                new Dictionary<string, object> { { "agents", named.ToArray() } });
        }

        internal void Forget(string policy) { lost.Remove(policy); }

        void Flush()
        {
            while (sending.Count > 0)
            {
                byte[] first = sending.Peek();
                int count = socket.Send(first, sentOfFirst, first.Length - sentOfFirst, SocketFlags.None, out SocketError error);
                // what the server said before it closed is read first: Poll finds the end of the stream
                if (error != SocketError.Success) return;
                sentOfFirst += count;
                if (sentOfFirst < first.Length) return;
                sending.Dequeue();
                sentOfFirst = 0;
            }
        }

        /// <summary>Sends and receives what is there; waits for at most `seconds` until something is. Never throws.</summary>
        public void Poll(double seconds = 0)
        {
            if (state == State.Connecting) PollConnecting(seconds);
            else if (state != State.Closed)
            {
                Flush();
                if (seconds > 0)
                {
                    var readable = new List<Socket> { socket };
                    List<Socket> writable = sending.Count > 0 ? new List<Socket> { socket } : null;
                    Socket.Select(readable, writable, null, (int)Math.Min(seconds * 1e6 + 1, int.MaxValue));
                    Flush();
                }
                Receive();
            }
            if ((state == State.Connecting || state == State.Hello) && DateTime.UtcNow >= deadline)
                Close(ErrorKind.Timeout, (state == State.Hello ? "no reply" : "no connection") + " within "
                    + Math.Round(options.ConnectTimeout * 1000) + " ms");
        }

        void PollConnecting(double seconds)
        {
            try
            {
                if (!connecting.IsCompleted && (seconds <= 0 || !connecting.Wait((int)Math.Min(seconds * 1000 + 1, int.MaxValue)))) return;
                socket = connecting.Result;
            }
            catch (AggregateException error)
            {
                Close(ErrorKind.DeadServer, error.GetBaseException().Message);
                return;
            }
            connecting = null;
            state = State.Hello;
            Ask("hello", Parameters("version", 1L, "client", options.Name, "token", options.Token, "frame_bytes", (long?)options.FrameBytes), null);
        }

        void Receive()
        {
            while (state == State.Hello || state == State.Ready)
            {
                if (receivedBytes == received.Length) Array.Resize(ref received, 2 * received.Length); // as bytes arrive, whatever a header says
                int count = socket.Receive(received, receivedBytes, received.Length - receivedBytes, SocketFlags.None, out SocketError error);
                if (error == SocketError.WouldBlock || error == SocketError.IOPending) return;
                if (error != SocketError.Success || count == 0)
                {
                    Close(ErrorKind.DeadServer, "the server closed the connection" + (error == SocketError.Success ? "" : " (" + error + ")"));
                    return;
                }
                receivedBytes += count;
                TakeFrames();
            }
        }

        void TakeFrames()
        {
            int at = 0;
            while (state != State.Closed && receivedBytes - at >= 4)
            {
                uint length = received[at] | (uint)received[at + 1] << 8 | (uint)received[at + 2] << 16 | (uint)received[at + 3] << 24;
                if (length == 0 || length > frameLimit)
                {
                    Close(ErrorKind.DeadServer, "bad frame: " + length + " bytes, the limit is " + frameLimit);
                    return;
                }
                if (receivedBytes - at - 4 < length) break;
                try { Take(Codec.Decode(received, at + 4, (int)length) as object[]); }
                catch (BadFrameException error) { Close(ErrorKind.DeadServer, "bad frame: " + error.Message); }
                at += 4 + (int)length;
            }
            receivedBytes -= at;
            if (at > 0) Buffer.BlockCopy(received, at, received, 0, receivedBytes);
        }

        void Take(object[] message)
        {
            if (message == null || message.Length != 4 || !(message[0] is long type) || type != 1) throw new BadFrameException("expected a response");
            long? code = null;
            string text = null;
            Dictionary<string, object> details = null;
            if (message[2] != null)
            {
                var error = message[2] as object[];
                if (error == null || error.Length < 2 || !(error[0] is long number) || !(error[1] is string said))
                    throw new BadFrameException("expected nil or [code, text, data] as an error");
                code = number;
                text = said;
                if (error.Length > 2) details = error[2] as Dictionary<string, object>;
            }
            if (message[1] == null)
            {
                if (code == null) throw new BadFrameException("a response without an id");
                if (code == 11) Close(ErrorKind.Draining, "the server is draining: " + text);
                else Close(ErrorKind.DeadServer, "code " + code + ": " + text);
                return;
            }
            if (!(message[1] is long id) || !inFlight.TryGetValue(id, out Pending pending)) throw new BadFrameException("a reply to no request");
            if (code == null && !(message[3] is Dictionary<string, object>) && !(message[3] is object[] empty && empty.Length == 0))
                throw new BadFrameException("a result that is no map");
            inFlight.Remove(id);
            if (code != null)
            {
                ErrorKind kind = code == 11 ? ErrorKind.Draining : ErrorKind.Refused;
                pending.Error = MakeError(kind, pending.Method, "code " + code + ": " + text, code, details);
                if (pending.Method == "hello") Close(pending.Error.Kind, pending.Error.Cause, code, details);
                return;
            }
            var result = message[3] as Dictionary<string, object> ?? new Dictionary<string, object>();
            if (pending.Method == "hello")
            {
                object limit = null;
                result.TryGetValue("limits", out object limits);
                (limits as Dictionary<string, object>)?.TryGetValue("frame_bytes", out limit);
                if (!(limit is long bytes)) throw new BadFrameException("a hello without limits.frame_bytes");
                sendLimit = (int)Math.Min(bytes, int.MaxValue - 4);
                frameLimit = options.FrameBytes ?? sendLimit;
                Server = result;
                state = State.Ready;
            }
            pending.OnResult?.Invoke(result);
            pending.Reply = result;
        }

        public Policy Policy(string name) { return new Policy(this, name); }
        public Pending Ping() { return Request("ping", Parameters()); }
        public Pending Stats() { return Request("stats", Parameters()); }
    }

    /// <summary>One policy of the server. Flags are a bool, or a byte[] of one byte for each agent; rows are bytes by name.</summary>
    public sealed class Policy
    {
        readonly Client client;
        public string Name { get; }

        internal Policy(Client client, string name) { this.client = client; Name = name; }

        static long[] Copy(IReadOnlyList<long> agents)
        {
            var copy = new long[agents.Count];
            for (int at = 0; at < copy.Length; ++at) copy[at] = agents[at];
            return copy;
        }

        /// <summary>inputs, outputs, constants.</summary>
        public Pending Spec() { return client.Request("spec", Client.Parameters("policy", Name)); }

        /// <summary>Begins agents; `streams` is 8 bytes for each, derived by the server where null.</summary>
        public Pending Begin(IReadOnlyList<long> agents, byte[] streams = null)
        {
            long[] ids = Copy(agents);
            return client.Request("begin", Client.Parameters("policy", Name, "agents", ids, "streams", streams),
                result => client.Began(Name, ids), Name, ids, true);
        }

        /// <summary>Actions: agents, outputs, skipped, version, tick?, streams?.</summary>
        public Pending Infer(IReadOnlyList<long> agents, IReadOnlyDictionary<string, byte[]> inputs, bool begin = false,
                             object deterministic = null, long? deadlineUs = null, IReadOnlyList<string> outputs = null, long? tick = null)
        {
            long[] ids = Copy(agents);
            return client.Request("infer", Client.Parameters("policy", Name, "agents", ids, "inputs", inputs, "begin", begin ? (object)true : null,
                "deterministic", deterministic, "deadline_us", deadlineUs, "outputs", outputs, "tick", tick),
                result => client.Began(Name, ids), Name, ids, begin); // those of a restored state are known by it
        }

        List<KeyValuePair<string, object>> RewardParameters(long[] ids, float[] rewards, IReadOnlyDictionary<string, byte[]> actions, long? tick)
        {
            return Client.Parameters("policy", Name, "agents", ids, "reward", Rows.Pack(rewards), "actions", actions, "tick", tick);
        }

        public Pending Reward(IReadOnlyList<long> agents, float[] rewards, IReadOnlyDictionary<string, byte[]> actions = null, long? tick = null)
        {
            long[] ids = Copy(agents);
            return client.Request("reward", RewardParameters(ids, rewards, actions, tick), null, Name, ids);
        }

        /// <summary>As Reward, without a reply; what the server refuses is counted in its statistics.</summary>
        public void NotifyReward(IReadOnlyList<long> agents, float[] rewards, IReadOnlyDictionary<string, byte[]> actions = null,
                                 long? tick = null)
        {
            long[] ids = Copy(agents);
            client.Notify("reward", RewardParameters(ids, rewards, actions, tick), Name, ids);
        }

        List<KeyValuePair<string, object>> EndParameters(long[] ids, object terminated, object truncated,
                                                         IReadOnlyDictionary<string, byte[]> inputs)
        {
            return Client.Parameters("policy", Name, "agents", ids, "terminated", terminated, "truncated", truncated, "inputs", inputs);
        }

        /// <summary>Ends agents; `inputs` are the final observations.</summary>
        public Pending End(IReadOnlyList<long> agents, object terminated = null, object truncated = null,
                           IReadOnlyDictionary<string, byte[]> inputs = null)
        {
            long[] ids = Copy(agents);
            return client.Request("end", EndParameters(ids, terminated, truncated, inputs), result => client.Ended(Name, ids), Name, ids);
        }

        /// <summary>As End, without a reply.</summary>
        public void NotifyEnd(IReadOnlyList<long> agents, object terminated = null, object truncated = null,
                              IReadOnlyDictionary<string, byte[]> inputs = null)
        {
            long[] ids = Copy(agents);
            client.Notify("end", EndParameters(ids, terminated, truncated, inputs), Name, ids);
            client.Ended(Name, ids);
        }

        /// <summary>state and version, of this connection's agents or of those named.</summary>
        public Pending Snapshot(IReadOnlyList<long> agents = null)
        {
            long[] ids = agents == null ? null : Copy(agents);
            return client.Request("snapshot", Client.Parameters("policy", Name, "agents", ids), null, Name, ids);
        }

        /// <summary>Replaces this connection's agents by those of a state; with `keep` others go on.</summary>
        public Pending Restore(byte[] state, bool keep = false)
        {
            return client.Request("restore", Client.Parameters("policy", Name, "state", state, "keep", keep ? (object)true : null),
                result => { if (!keep) client.Forget(Name); }, Name);
        }

        public Pending Swap(string path) { return client.Request("swap", Client.Parameters("policy", Name, "path", path), null, Name); }
    }
}
