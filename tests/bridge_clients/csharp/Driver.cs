// The C# client's scenarios: Driver.exe SCENARIO ADDRESS ARGUMENTS...
using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Text;
using Cervello;

static class Driver
{
    static string Hex(byte[] bytes)
    {
        var text = new StringBuilder(2 * bytes.Length);
        foreach (byte each in bytes) text.Append(each.ToString("x2"));
        return text.ToString();
    }

    static string Dump(object value)
    {
        if (value == null) return "n";
        if (value is bool) return (bool)value ? "t" : "u";
        if (value is string text) return "s" + Hex(Encoding.UTF8.GetBytes(text));
        if (value is byte[] bytes) return "b" + Hex(bytes);
        if (value is double)
        {
            double number = (double)value;
            return number == Math.Floor(number) ? ((long)number).ToString() : "f" + number.ToString("R", CultureInfo.InvariantCulture);
        }
        if (value is object[] list) return "[" + string.Join(",", Array.ConvertAll(list, Dump)) + "]";
        if (value is Dictionary<string, object> map)
        {
            var sorted = new SortedDictionary<string, string>(StringComparer.Ordinal);
            foreach (var pair in map) sorted[Hex(Encoding.UTF8.GetBytes(pair.Key))] = Dump(pair.Value);
            var pairs = new List<string>();
            foreach (var pair in sorted) pairs.Add(pair.Key + ":" + pair.Value);
            return "{" + string.Join(",", pairs) + "}";
        }
        return value.ToString();
    }

    static void Say(string text) { Console.Out.Write(text + "\n"); }

    static string KindOf(BridgeException error)
    {
        return new Dictionary<ErrorKind, string> { { ErrorKind.Refused, "refused" }, { ErrorKind.Draining, "draining" },
            { ErrorKind.DeadServer, "dead_server" }, { ErrorKind.AgentsLost, "agents_lost" }, { ErrorKind.Timeout, "timeout" }, { ErrorKind.Closed, "closed" } }[error.Kind];
    }

    static void Show(Pending pending, double seconds = 5)
    {
        try { Say(Dump(pending.Wait(seconds))); }
        catch (BridgeException error) { Say(KindOf(error) + "|" + error.Step + "|" + error.Code + "|" + error.Message); }
    }

    static Client Ready(string address, string name = "csharp")
    {
        var client = new Client(address, new ClientOptions { Name = name });
        client.WaitReady();
        return client;
    }

    static Dictionary<string, byte[]> Obs(params float[] values)
    {
        return new Dictionary<string, byte[]> { { "obs", Rows.Pack(values) } };
    }

    static void CodecLines(string path)
    {
        foreach (string line in File.ReadAllLines(path))
        {
            var body = new byte[line.Length / 2];
            for (int at = 0; at < body.Length; ++at) body[at] = Convert.ToByte(line.Substring(2 * at, 2), 16);
            try
            {
                object value = Codec.Decode(body);
                Say(Dump(value) + " " + Hex(Codec.Encode(value)));
            }
            catch (BadFrameException error) { Say("bad frame: " + error.Message); }
        }
    }

    static void Golden(string address, string name)
    {
        using (var client = Ready(address, "golden"))
        {
            var policy = client.Policy(name);
            var one = Obs(0.5f, -0.25f, 0.125f, 1);
            var two = Obs(0.5f, -0.25f, 0.125f, 1, -1, 0.75f, 0, 2);
            var both = new long[] { 1, 2 };
            var third = new long[] { 3 };
            const long large = (1L << 53) - 1;
            Show(client.Ping());
            Show(policy.Spec());
            Show(policy.Begin(both, Rows.Pack(new ulong[] { 7, 1UL << 62 })));
            Show(policy.Infer(both, two));
            Show(policy.Infer(third, one, begin: true, deterministic: new byte[] { 1 }, deadlineUs: 5000000, outputs: new[] { "action" }, tick: large));
            Show(policy.Infer(new long[0], Obs()));
            Show(policy.Infer(new long[] { 1 }, one, outputs: new string[0]));
            Show(policy.Reward(both, new[] { 1, -0.5f }));
            Show(policy.Reward(third, new[] { 0.5f }, new Dictionary<string, byte[]> { { "action", Rows.Pack(new long[] { 1 }) } }, large));
            Show(policy.Snapshot(both));
            Show(policy.End(both, new byte[] { 1, 0 }, new byte[] { 0, 1 }, two));
            Show(policy.End(third, true));
            Show(client.Stats());
            policy.NotifyReward(both, new[] { 1, -0.5f });
            policy.NotifyEnd(both);
            Show(client.Ping());
        }
    }

    static void Restart(string address, string name, string restarting)
    {
        using (var client = Ready(address))
        {
            var policy = client.Policy(name);
            var both = new long[] { 1, 2 };
            Show(policy.Begin(both));
            Show(client.Policy(restarting).Infer(both, Obs(0, 0, 0, 0, 0, 0, 0, 0)));
            Show(client.Ping());
            client.Reconnect();
            client.WaitReady();
            Show(policy.Infer(both, Obs(0, 0, 0, 0, 0, 0, 0, 0)));
            try { policy.NotifyEnd(both); throw new InvalidOperationException("a notify that names lost agents was sent"); }
            catch (BridgeException error) { if (error.Kind != ErrorKind.AgentsLost) throw; }
            Show(policy.Begin(both));
            Show(policy.Infer(both, Obs(0, 0, 0, 0, 0, 0, 0, 0)));
        }
    }

    static Dictionary<string, byte[]> Grid(int count, int width, int step)
    {
        var values = new float[count * width];
        for (int at = 0; at < values.Length; ++at) values[at] = ((7 * (at / width) + 3 * step + at % width) % 11 - 5) / 4f;
        return Obs(values);
    }

    // Against a real server: see played() of test_served.py.
    static void Play(string address, string name, int width, int steps)
    {
        using (var client = Ready(address, "player"))
        {
            var policy = client.Policy(name);
            var agents = new long[] { 1, 2, 3 };
            Show(policy.Begin(agents, Rows.Pack(new ulong[] { 7, 8, 1UL << 62 })), 20);
            for (int step = 0; step < steps; ++step)
            {
                Show(policy.Infer(agents, Grid(3, width, step), tick: step), 20);
                Show(policy.Reward(agents, new[] { 1, 0.5f, -1 }, tick: step), 20);
            }
            var saved = (byte[])policy.Snapshot().Wait(20)["state"];
            string after = Dump(policy.Infer(agents, Grid(3, width, 1)).Wait(20)["outputs"]);
            Show(policy.Restore(saved), 20);
            Say(after == Dump(policy.Infer(agents, Grid(3, width, 1)).Wait(20)["outputs"]) ? "true" : "false");
            Show(policy.End(new long[] { 1 }, terminated: true, inputs: Grid(1, width, steps)), 20);
            Show(policy.Infer(agents, Grid(3, width, steps)), 20);
            Show(policy.Infer(new long[] { 2, 1 }, Grid(2, width, steps), begin: true, deterministic: new byte[] { 0, 0 }, outputs: new string[0]), 20);
            policy.NotifyEnd(new long[] { 2, 3 }, new byte[] { 1, 0 }, new byte[] { 0, 1 });
            Say(client.Stats().Wait(20)["agents"].ToString());
        }
    }

    // Plays until the server has gone.
    static void Outlive(string address, string name, int width)
    {
        using (var client = Ready(address))
        {
            var policy = client.Policy(name);
            var agents = new long[] { 1, 2, 3 };
            Show(policy.Begin(agents), 20);
            Pending last;
            do
            {
                last = policy.Infer(agents, Grid(3, width, 0));
                try { last.Wait(20); }
                catch (BridgeException) { }
            } while (last.Error == null);
            Show(last);
        }
    }

    static void Main(string[] arguments)
    {
        switch (arguments[0])
        {
            case "codec": CodecLines(arguments[1]); break;
            case "golden": Golden(arguments[1], arguments[2]); break;
            case "play": Play(arguments[1], arguments[2], int.Parse(arguments[3]), int.Parse(arguments[4])); break;
            case "outlive": Outlive(arguments[1], arguments[2], int.Parse(arguments[3])); break;
            case "restart": Restart(arguments[1], arguments[2], arguments[3]); break;
            case "fail":
                using (var client = Ready(arguments[1]))
                    Show(client.Policy(arguments[2]).Infer(new long[] { 1, 2 }, Obs(0, 0, 0, 0, 0, 0, 0, 0)), int.Parse(arguments[3]) / 1000.0);
                break;
            case "overtaken":
                using (var client = Ready(arguments[1]))
                {
                    Pending first = client.Policy("overtaken").Infer(new long[] { 1 }, Obs(0, 0, 0, 0)), second = client.Ping();
                    Show(first);
                    Show(second);
                }
                break;
            case "connect":
                try { new Client(arguments[1], new ClientOptions { ConnectTimeout = 2 }).WaitReady(); } // Mono compiles at the first call
                catch (BridgeException error) { Say(KindOf(error) + "|" + error.Step + "|" + error.Code + "|" + error.Message); }
                break;
            default: throw new ArgumentException("scenario: got " + arguments[0]);
        }
    }
}
