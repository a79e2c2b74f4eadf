package android.os;

import java.io.Closeable;
import java.io.File;
import java.io.FileDescriptor;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.reflect.Field;

/** A stand-in for Android's class: an open file with its number. */
public class ParcelFileDescriptor implements Closeable {
    /** The files that are open. */
    public static int open;

    private final RandomAccessFile file;

    public ParcelFileDescriptor(File file) throws IOException {
        this.file = new RandomAccessFile(file, "r");
        open += 1;
    }

    public int getFd() {
        try {
            Field field = FileDescriptor.class.getDeclaredField("fd");
            field.setAccessible(true);
            return field.getInt(file.getFD());
        } catch (IOException | ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public void close() throws IOException {
        file.close();
        open -= 1;
    }
}
