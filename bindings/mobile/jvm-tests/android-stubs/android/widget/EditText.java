package android.widget;

import android.content.Context;

/** A stand-in for Android's class, so that the sample compiles. It does nothing. */
public class EditText extends TextView {
    public EditText(Context context) {
        super(context);
    }
}
