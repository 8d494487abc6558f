package mesh.dubbo.interop;

import java.util.HashMap;
import java.util.Map;

/** Command-line options: `--name value`, or `--name` alone for a flag. */
public final class Options {

    private static final String PREFIX = "--";

    private final Map<String, String> values = new HashMap<>();

    public Options(String[] arguments) {
        for (int i = 0; i < arguments.length; i++) {
            if (!arguments[i].startsWith(PREFIX)) {
                throw new IllegalArgumentException("not an option: " + arguments[i]);
            }
            boolean flag = i + 1 == arguments.length || arguments[i + 1].startsWith(PREFIX);
            values.put(arguments[i].substring(PREFIX.length()), flag ? "true" : arguments[++i]);
        }
    }

    /** Returns the option's value, or `absent` without the option. */
    public String text(String name, String absent) {
        return values.getOrDefault(name, absent);
    }

    /** Returns the option's value as a whole number, or `absent` without the option. */
    public int number(String name, int absent) {
        return values.containsKey(name) ? Integer.parseInt(values.get(name)) : absent;
    }

    /** Tells if the flag was given. */
    public boolean flag(String name) {
        return values.containsKey(name);
    }
}
