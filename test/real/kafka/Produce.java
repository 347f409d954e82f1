import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Writes the lines of its input as records, in batches. Arguments: brokers, topic, codec. */
public class Produce {
  public static void main(String[] args) throws Exception {
    Map<String, Object> config =
        Map.of("bootstrap.servers", args[0], "compression.type", args[2], "batch.size", 500_000, "linger.ms", 200);
    var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
      input.lines().forEach(line -> producer.send(new ProducerRecord<>(args[1], line)));
    }
  }
}
